// The report: the clips of a study.

const study = JSON.parse(document.getElementById("data").textContent);
keysAreTaken = () => !document.getElementById("listen").hidden; // by the blind test
showClips(
  study.clips,
  document.getElementById("clip-list"),
  "No audio was kept: excerpts was 0.",
);
