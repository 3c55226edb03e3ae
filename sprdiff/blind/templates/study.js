// One blind test: asks which of two reconstructions is nearer, trial after trial, then shows what was chosen.
// root: the element of study.html; data: what study_data made; onEnd: called with {run, round, answers} once all
// are given, each answer "left" or "right". Gives back what ends it, for a page that puts another in its place.
const blindStudy = (root, data, onEnd) => {
  const find = (selector) => root.querySelector(selector);
  const all = (selector) => [...root.querySelectorAll(selector)];
  const make = (tag, text, attributes) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    return node;
  };
  const address = (image) => (typeof image === "string" ? image : image.url);
  const ended = new AbortController();
  const listen = (target, type, then) => target.addEventListener(type, then, { signal: ended.signal });
  const VIEWS = ["left", "original", "right"];
  const CYCLE = ["left", "original", "right", "original"];

  // ---- what is kept if the page is loaded again --------------------------------------------------------------

  const store = "blind-test-" + data.study;
  const fresh = () => {
    const words = crypto.getRandomValues(new Uint32Array(3));
    const run = [words[0], words[1]].map((word) => word.toString(16).padStart(8, "0")).join("");
    return { run, round: words[2] % data.rounds.length, answers: [] };
  };
  const kept = () => {
    try {
      const found = JSON.parse(localStorage.getItem(store));
      const trials = data.rounds[found.round];
      const whole = Array.isArray(found.answers) && found.answers.length <= trials.length;
      return whole && found.answers.every((side) => side === "left" || side === "right") ? found : null;
    } catch {
      return null; // nothing kept, or a browser that keeps nothing
    }
  };
  const keep = () => {
    try {
      localStorage.setItem(store, JSON.stringify(state.taken));
    } catch {
      // Private windows keep nothing: the answers last as long as the page.
    }
  };
  const narrow = matchMedia("(max-width: 700px)").matches;
  const state = { taken: kept() || fresh(), mode: narrow ? "flicker" : "side", view: "original", step: 1, ready: false, shown: 0 };
  const trials = () => data.rounds[state.taken.round];
  const isOver = () => state.taken.answers.length >= trials().length;

  // ---- asking ------------------------------------------------------------------------------------------------

  const setMode = (mode) => {
    state.mode = mode;
    root.classList.toggle("flickering", mode === "flicker");
    root.classList.remove("blinked");
    for (const button of all("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  };
  const setView = (view) => {
    state.view = view;
    for (const figure of all("figure")) figure.classList.toggle("shown", figure.dataset.side === view);
    for (const button of all("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  };
  // Side by side, the outer pictures turn into the original and back; alone, each step leads from or to it.
  const flicker = () => {
    if (state.mode === "side") {
      setBlink(!root.classList.contains("blinked"));
      return;
    }
    state.step = (state.step + 1) % CYCLE.length;
    setView(CYCLE[state.step]);
  };
  const setBlink = (on) => {
    root.classList.toggle("blinked", on);
    for (const [side, name] of [["left", "Left"], ["right", "Right"]]) {
      find("figure[data-side=" + side + "] figcaption").textContent = on ? "Original" : name;
    }
  };
  const zoomTo = (x, y) => {
    for (const [name, value] of [["x", x], ["y", y]]) {
      state[name] = Math.min(Math.max(value, 0), 1);
      root.style.setProperty("--" + name, 100 * state[name] + "%");
    }
  };
  const setZoom = (on) => {
    const image = all(".b-port img").find((each) => each.clientWidth && each.naturalWidth);
    // At least to the pixels of the picture, and never less than twice.
    const factor = image ? Math.max(2, image.naturalWidth / image.clientWidth) : 2;
    root.classList.toggle("zoomed", on);
    root.style.setProperty("--zoom", on ? factor : 1);
    find("[data-act=zoom]").setAttribute("aria-pressed", String(on));
  };
  const load = (image, source) => {
    image.src = source;
    return image.decode().catch(() => {});
  };

  const ask = () => {
    const place = state.taken.answers.length;
    const current = ++state.shown;
    const [left, right, original] = trials()[place].map((number) => address(data.images[number]));
    state.ready = false;
    root.classList.remove("ready");
    setBlink(false);
    setZoom(false);
    state.step = 1;
    setView("original");
    find(".b-ask").hidden = false;
    find(".b-result").hidden = true;
    find("[data-act=back]").disabled = place === 0;
    find(".b-count").textContent = place + 1 + " of " + trials().length;
    const sources = { left, original, right };
    const loads = all("figure").map((figure) => load(figure.querySelector("img"), sources[figure.dataset.side]));
    for (const reference of all(".b-reference")) loads.push(load(reference, original));
    Promise.all(loads).then(() => {
      if (current !== state.shown) return;
      const first = find("figure img");
      root.style.setProperty("--ratio", first.naturalWidth / first.naturalHeight || 1.5);
      state.ready = true;
      root.classList.add("ready");
    });
  };
  const answer = (side) => {
    if (!state.ready || isOver()) return; // nobody answers what is not on view yet
    state.taken.answers.push(side);
    keep();
    root.focus({ preventScroll: true });
    if (isOver()) {
      showResult();
      onEnd(state.taken);
    } else ask();
  };
  const undo = () => {
    if (!state.taken.answers.length || isOver()) return;
    state.taken.answers.pop();
    keep();
    ask();
  };

  // ---- the result --------------------------------------------------------------------------------------------

  // Wilson's interval of a share at 95 %, as results.py computes it.
  const wilson = (wins, count) => {
    const z = 1.959963984540054, share = wins / count, base = 1 + (z * z) / count;
    const middle = (share + (z * z) / (2 * count)) / base;
    const reach = (z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count))) / base;
    return { share, low: Math.max(0, middle - reach), high: Math.min(1, middle + reach) };
  };
  const percent = (share) => Math.round(100 * share) + " %";

  const votes = () => {
    const key = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(data.key), (c) => c.charCodeAt(0))));
    const rows = state.taken.answers.map((side, place) => {
      const [left, right] = trials()[place].map((number) => key.images[number]);
      const nearer = side === "left" ? left : right;
      return { trial: place + 1, picture: left.picture, left: left.method, right: right.method, nearer: nearer.method };
    });
    return { labels: key.labels, rows };
  };
  const counted = (rows, nameOf, shownOf) => {
    const counts = new Map();
    for (const row of rows) {
      for (const shown of shownOf(row)) {
        const count = counts.get(shown) || { wins: 0, count: 0 };
        counts.set(shown, { wins: count.wins + (nameOf(row) === shown), count: count.count + 1 });
      }
    }
    return counts;
  };
  const csvOf = (rows) => {
    const quoted = (value) => (/[",\n\r]/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value);
    const columns = ["study", "run", "trial", "picture", "left", "right", "nearer"];
    const lines = rows.map((row) => columns.map((name) => quoted(String({ study: data.study, run: state.taken.run, ...row }[name]))).join(","));
    return [columns.join(","), ...lines].join("\n") + "\n";
  };
  const tableOf = (head, rows, name) => {
    const scroll = make("div", undefined, { class: "b-scroll", tabindex: "0", role: "region", "aria-label": name });
    const table = make("table"), top = make("tr"), body = make("tbody"), thead = make("thead");
    for (const [text, kind] of head) top.append(make("th", text, { scope: "col", class: kind || "" }));
    thead.append(top);
    for (const cells of rows) {
      const row = make("tr");
      cells.forEach((cell, place) => {
        const node = place ? make("td", undefined, { class: head[place][1] || "" }) : make("th", undefined, { scope: "row" });
        node.append(cell);
        row.append(node);
      });
      body.append(row);
    }
    table.append(thead, body);
    scroll.append(table);
    return scroll;
  };
  const rangeOf = (interval) => {
    const range = make("span", undefined, { class: "b-range", "aria-hidden": "true" });
    for (const name of ["share", "low", "high"]) range.style.setProperty("--" + name, 100 * interval[name] + "%");
    range.append(make("i"), make("b"));
    return range;
  };
  const rateRow = (label, wins, count) => {
    const interval = wilson(wins, count);
    return [label, wins + " of " + count, percent(interval.share), Math.round(100 * interval.low) + " to " + percent(interval.high), rangeOf(interval)];
  };
  const rateHead = (name) => [[name], ["Wins", "n"], ["Share", "n"], ["95 % interval", "n"], ["0 to 100 %", "b-bar-cell"]];

  const showResult = () => {
    const { labels, rows } = votes();
    const result = find(".b-result");
    const byShare = (one, other) => other[1].wins / other[1].count - one[1].wins / one[1].count || other[1].count - one[1].count;
    const methods = [...counted(rows, (row) => row.nearer, (row) => [row.left, row.right])].sort(byShare);
    const ordered = (row) => [row.nearer, row.nearer === row.left ? row.right : row.left];
    const pairs = [...counted(rows, (row) => ordered(row).join("\n"), (row) => [[row.left, row.right].join("\n"), [row.right, row.left].join("\n")])]
      .filter(([pair, count]) => 2 * count.wins > count.count || (2 * count.wins === count.count && pair.split("\n")[0] < pair.split("\n")[1]))
      .sort(byShare);
    const csv = csvOf(rows), file = "blind-" + data.study + "-" + state.taken.run + ".csv";
    const take = make("div", undefined, { class: "b-take" });
    take.append(make("a", "Answers as CSV", { download: file, href: "data:text/csv;charset=utf-8," + encodeURIComponent(csv) }));
    const again = make("button", "Start again", { type: "button", "data-act": "again" });
    take.append(again);
    const text = make("details");
    const area = make("textarea", csv, { readonly: "", "aria-label": "The answers as text" });
    text.append(make("summary", "The same as text, to copy"), area);
    const answers = make("details");
    answers.append(
      make("summary", "Every answer"),
      tableOf(
        [["Trial"], ["Picture"], ["Left"], ["Right"], ["Nearer"]],
        rows.map((row) => [String(row.trial), row.picture, labels[row.left], labels[row.right], labels[row.nearer]]),
        "Every answer",
      ),
    );
    const part = (title, ...nodes) => {
      const section = make("div");
      section.append(make("h3", title), ...nodes);
      return section;
    };
    result.replaceChildren(
      make("h2", "Thank you: " + rows.length + " answers"),
      take,
      part(
        "How often each was said to be nearer",
        tableOf(rateHead("Method"), methods.map(([method, { wins, count }]) => rateRow(labels[method], wins, count)), "Wins of each method"),
      ),
      part(
        "Pair by pair",
        tableOf(
          rateHead("Pair"),
          pairs.map(([pair, { wins, count }]) => rateRow(pair.split("\n").map((id) => labels[id]).join(" over "), wins, count)),
          "Wins of each pair",
        ),
      ),
      make("p", "Wilson intervals. " + rows.length + " answers of one person say little: an interval that holds 50 % leaves open which is nearer.", { class: "b-note" }),
      answers,
      text,
    );
    root.classList.remove("ready", "zoomed");
    find(".b-ask").hidden = true;
    result.hidden = false;
    result.focus({ preventScroll: true });
    root.scrollIntoView({ block: "nearest" });
  };

  // ---- commands ----------------------------------------------------------------------------------------------

  const start = () => (isOver() ? showResult() : ask());
  listen(root, "click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { mode, view, answer: side, act } = button.dataset;
    if (mode) setMode(mode);
    if (view) {
      setView(view);
      state.step = CYCLE.indexOf(view);
    }
    if (side) answer(side);
    if (act === "zoom") setZoom(!root.classList.contains("zoomed"));
    if (act === "back") undo();
    if (act === "again") {
      state.taken = fresh();
      keep();
      start();
    }
    // After a click of the mouse the space bar flickers; it would press the button again.
    if (event.detail > 0) root.focus({ preventScroll: true });
  });
  const follow = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    zoomTo((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  for (const port of all(".b-port")) {
    listen(port, "click", (event) => {
      follow(event);
      setZoom(!root.classList.contains("zoomed"));
    });
    listen(port, "pointermove", (event) => {
      if (root.classList.contains("zoomed")) follow(event);
    });
  }
  listen(document, "keydown", (event) => {
    const busy = event.target.closest("input, select, textarea, summary, [role=tab], [role=slider]");
    if (event.ctrlKey || event.metaKey || event.altKey || busy || !root.offsetParent || isOver()) return;
    if (event.key === " " && event.target.closest("button, a")) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && event.shiftKey) zoomTo(state.x + 0.1 * arrow[0], state.y + 0.1 * arrow[1]);
    else if (event.repeat && event.key !== " ") return; // a key held down is one answer
    else if (arrow && arrow[0]) answer(arrow[0] < 0 ? "left" : "right");
    else if (event.key === " ") {
      if (!event.repeat) flicker();
    } else if ("123".includes(event.key)) {
      if (state.mode === "side") setMode("flicker");
      setView(VIEWS[Number(event.key) - 1]);
      state.step = CYCLE.indexOf(state.view);
    } else if (event.key === "z") setZoom(!root.classList.contains("zoomed"));
    else if (event.key === "Backspace") undo();
    else return;
    event.preventDefault();
  });
  listen(window, "resize", () => setZoom(root.classList.contains("zoomed")));
  setMode(state.mode);
  zoomTo(0.5, 0.5);
  start();
  root.focus({ preventScroll: true });
  return () => ended.abort();
};
