"""Training of every part, stage after stage; nothing else imports this folder."""
