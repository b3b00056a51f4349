// A page to listen to: its clips stand in it.

showClips(
  JSON.parse(document.getElementById("data").textContent),
  document.getElementById("clip-list"),
  "There is nothing to listen to.",
);
