// The blind test of the page: a new one whenever the server has another.
const section = element.querySelector(".blind");
const empty = element.querySelector(".blind-empty");
let end = () => {};

const draw = () => {
  const data = props.value;
  end();
  end = () => {};
  section.hidden = !data;
  empty.hidden = Boolean(data);
  if (data) end = blindStudy(section, data, (taken) => trigger("ended", { study: data.study, ...taken }));
};

watch("value", draw);
draw();
