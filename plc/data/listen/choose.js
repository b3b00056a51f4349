// What shall be filled: a box for each place, in the table and on its card; saved as a zip of labels.

const { files, places } = JSON.parse(document.getElementById("choices").textContent);
const boxes = places.map(() => []); // of each place: in the table, and on its card

function box(number, label) {
  const made = element("input", {
    type: "checkbox",
    "aria-label": label,
    onchange: () => tick(number, made.checked),
  });
  boxes[number].push(made);
  return made;
}

function tick(number, on) {
  places[number].ticked = on;
  for (const each of boxes[number]) each.checked = on;
  tell();
}

function tell() {
  const count = places.filter((place) => place.ticked).length;
  document.getElementById("ticked").textContent = `${count} of ${places.length} ticked`;
}

function tickAll(on) {
  places.forEach((_, number) => tick(number, on));
}

// The rows may be sorted; the number of its place stands in each.
for (const row of document.querySelectorAll("#places tbody tr")) {
  const cell = row.cells[1];
  const number = Number(cell.dataset.value);
  const { clip } = places[number];
  cell.append(box(number, `fill place ${number + 1}`));
  if (clip === null) continue;
  const listen = () => {
    cards[clip].open();
    cards[clip].root.scrollIntoView({ block: "start" });
  };
  const at = row.cells[2];
  at.replaceChildren(
    element("button", { type: "button", class: "listen", onclick: listen }, at.textContent),
  );
}

places.forEach(({ clip }, number) => {
  if (clip === null) return;
  const label = element("label", { class: "fill" }, box(number, "fill this place"), "fill");
  label.addEventListener("click", (event) => event.stopPropagation()); // the card stays as it is
  cards[clip].root.querySelector("summary").append(label);
});
places.forEach(({ ticked }, number) => tick(number, ticked));
tell();

// ---- a zip file whose members are stored as they are ---------------------------------------------

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// Little-endian fields: [bytes, value], ...
function fields(...pairs) {
  const out = [];
  for (const [bytes, value] of pairs)
    for (let k = 0; k < bytes; k++) out.push(Math.floor(value / 2 ** (8 * k)) & 0xff);
  return Uint8Array.from(out);
}

function zip(members) {
  const parts = [], directory = [];
  let offset = 0, directorySize = 0;
  for (const [name, text] of members) {
    const [path, data] = [name, text].map((each) => new TextEncoder().encode(each));
    // Version 2.0, names in UTF-8, stored, 1980-01-01.
    const common = [
      [2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, crc32(data)], [4, data.length],
      [4, data.length], [2, path.length], [2, 0],
    ];
    const head = fields([4, 0x04034b50], ...common);
    const entry = fields(
      [4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset],
    );
    parts.push(head, path, data);
    directory.push(entry, path);
    offset += head.length + path.length + data.length;
    directorySize += entry.length + path.length;
  }
  const count = Math.min(members.length, 0xffff);
  const end = fields(
    [4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, directorySize], [4, offset], [2, 0],
  );
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function labels() {
  const lines = new Map(files.map((file) => [file, ""]));
  for (const { file, label, ticked } of places) {
    if (ticked) lines.set(file, lines.get(file) + label);
  }
  return [...lines];
}

function save() {
  const link = element("a", { href: URL.createObjectURL(zip(labels())), download: "labels.zip" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

document.getElementById("save").addEventListener("click", save);
document.getElementById("all").addEventListener("click", () => tickAll(true));
document.getElementById("none").addEventListener("click", () => tickAll(false));
