// Cards with clips that play, keys that act on them, tables that sort.

const cards = [];
let current = null; // the card that keys act on
let keysAreTaken = () => false; // by another part of the page

class Card {
  constructor(clip) {
    this.clip = clip;
    this.deck = null;
    this.root = element(
      "details",
      {
        class: "clip",
        id: `clip-${clip.id}`,
        // A search in the page opens it, too. The event comes late, when keys may have gone on.
        ontoggle: () => this.root.open && !this.deck && this.open(),
      },
      element(
        "summary",
        { onclick: (event) => this.fold(event) },
        clip.name,
        element("span", { class: "what" }, clip.what),
      ),
    );
  }

  open() {
    if (!this.deck) this.build();
    this.root.open = true;
    if (current && current !== this) current.root.classList.remove("current");
    current = this;
    this.root.classList.add("current");
    this.show();
  }

  fold(event) {
    event.preventDefault();
    if (event.detail) event.currentTarget.blur();
    if (this.root.open) this.root.open = false;
    else this.open();
  }

  build() {
    const names = this.clip.tracks.map((track) => track.name);
    this.deck = new Deck(this.clip, names, () => this.show());
    this.playButton = element(
      "button", { class: "play", type: "button", onclick: press(() => this.toggle()) },
    );
    this.time = element("span", { class: "time" });
    this.status = element("span", { class: "status", role: "status" });
    this.rows = this.clip.tracks.map((track, number) => this.row(track, number));
    this.root.append(
      element(
        "div", { class: "deck" },
        element("div", { class: "transport" }, this.playButton, this.time, this.status),
        ...this.rows.map((row) => row.root),
      ),
    );
  }

  row(track, number) {
    const key = number < 9 ? `${number + 1}  ` : "";
    const button = element(
      "button",
      { type: "button", onclick: press(() => this.choose(track.name)) },
      key + track.label,
      element("small", {}, track.scores),
    );
    const playhead = element("div", { class: "playhead" });
    const alt = `Spectrogram of ${track.label}, what was lost marked in red`;
    const spectrogram = element("img", { src: track.picture, alt, loading: "lazy", draggable: "false" });
    const picture = element(
      "div",
      {
        class: "picture",
        onclick: (event) => {
          this.open();
          this.deck.choose(track.name);
          this.guard(this.deck.seek(along(event) * this.deck.duration));
        },
      },
      ...(track.picture ? [spectrogram] : []),
      playhead,
    );
    const near = element("img", {
      class: "near",
      src: track.near,
      loading: "lazy",
      alt: `Waveform of ${track.label} around one gap, ${this.clip.tracks[0].label} in grey`,
      onclick: () => this.choose(track.name),
    });
    const root = element(
      "div",
      { class: track.near ? "track with-near" : "track" },
      button,
      picture,
      ...(track.near ? [near] : []),
    );
    return { root, button, playhead, name: track.name };
  }

  // Show what goes wrong with the audio where the listener looks.
  guard(promise) {
    return Promise.resolve(promise).then(
      () => (this.status.textContent = ""),
      (error) => (this.status.textContent = String(error.message ?? error)),
    );
  }

  toggle() {
    this.open();
    return this.guard(this.deck.toggle());
  }

  choose(name) {
    this.open();
    this.deck.choose(name);
  }

  show() {
    const { deck } = this;
    this.playButton.textContent = deck.playing ? "Pause" : "Play";
    for (const row of this.rows) {
      const on = row.name === deck.heard;
      row.root.classList.toggle("on", on);
      row.button.setAttribute("aria-pressed", String(on));
    }
    this.move();
    if (deck.playing) requestAnimationFrame(() => this.follow());
  }

  follow() {
    this.move();
    if (this.deck.playing) requestAnimationFrame(() => this.follow());
  }

  move() {
    const { position, duration } = this.deck;
    this.time.textContent = `${clock(position)} / ${clock(duration)}`;
    for (const row of this.rows) row.playhead.style.left = `${(100 * position) / duration}%`;
  }
}

function go(by) {
  if (!cards.length) return;
  const at = current ? cards.indexOf(current) + by : 0;
  const next = cards[(at + cards.length) % cards.length];
  if (Deck.current?.playing) Deck.current.pause();
  next.open();
  next.root.scrollIntoView({ block: "start" });
}

function typing(target) {
  return target.matches("input:not([type=range]), select, textarea");
}

// What a key does; the blind test has its own.
function onKey(event, deck, { toggle, extra = () => false }) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  const range = event.target.matches("input[type=range]");
  if (event.key === " ") {
    if (event.target.matches("button, summary, a")) return; // it is pressed instead
    toggle();
  } else if (digit && digit <= deck.names.length) deck.choose(deck.names[digit - 1]);
  else if (event.key === "ArrowLeft" && !range) deck.seek(deck.position - 1);
  else if (event.key === "ArrowRight" && !range) deck.seek(deck.position + 1);
  else if (!extra(event.key, range)) return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (keysAreTaken() || !current) return;
  onKey(event, current.deck, {
    toggle: () => current.toggle(),
    extra: (key) => {
      if (key === "ArrowUp") current.deck.step(-1);
      else if (key === "ArrowDown") current.deck.step(1);
      else if (key === "n") go(1);
      else if (key === "p") go(-1);
      else return false;
      return true;
    },
  });
});

function sortBy(table, column, heading) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value;
  const text = (row) => row.cells[column].textContent;
  for (const group of table.tBodies) {
    const rows = [...group.rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined && y === undefined) return text(a).localeCompare(text(b));
      if (x === undefined || y === undefined) return x === undefined ? 1 : -1; // none comes last
      return (descending ? -1 : 1) * (x - y);
    });
    if (descending && rows.every((row) => value(row) === undefined)) rows.reverse();
    group.append(...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const label = heading.textContent;
    heading.textContent = "";
    heading.append(
      element("button", { type: "button", onclick: () => sortBy(table, column, heading) }, label),
    );
  });
}

// Put clips into the page, the first one open.
function showClips(clips, place, nothing) {
  for (const clip of clips) {
    const card = new Card(clip);
    cards.push(card);
    place.append(card.root);
  }
  if (cards.length) cards[0].open();
  else place.append(nothing);
}
