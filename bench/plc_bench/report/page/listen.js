// The blind test: shuffled versions without names, ratings to a file.

const STORE = "plc-listening-test";
const REFERENCE = "reference";
// The signal with its holes is what everybody should rate low.
const ANCHOR = "lossy";

function shuffled(items) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

let last = null; // where a browser gives no storage to a file, a test lives as long as its page

function remember(test) {
  last = test;
  try {
    if (test) localStorage.setItem(STORE, JSON.stringify(test));
    else localStorage.removeItem(STORE);
  } catch { /* refused */ }
}

function remembered() {
  if (last) return last;
  try {
    const test = JSON.parse(localStorage.getItem(STORE));
    return test?.report === study.report ? test : null;
  } catch {
    return null;
  }
}

// What each trial plays, drawn beforehand so that a test can go on after a break.
function draw(listener, count) {
  const trials = shuffled(study.clips).slice(0, count).map((clip) => ({
    clip: clip.id,
    stimuli: shuffled(rated(clip)),
    heard: [],
    answer: {},
  }));
  const began = new Date().toISOString();
  return { format: "plc-ratings-1", report: study.report, listener, began, at: 0, trials };
}

function rated(clip) {
  const names = clip.tracks.map((track) => track.name);
  return names.includes("zeros") ? names.filter((name) => name !== ANCHOR) : names;
}

// What plc bench report reads.
function ratingsOf(test) {
  const trials = test.trials.slice(0, test.at).map((trial) => {
    const clip = study.clips[trial.clip];
    return { clip: clip.name, condition: clip.conditionName, ratings: trial.answer };
  });
  const { format, listener, began } = test;
  const ended = new Date().toISOString();
  return { format, study: study.studyId, listener, began, ended, trials };
}

class ListeningTest {
  constructor(test) {
    this.test = test;
    this.root = document.getElementById("listen");
    this.onKeyDown = (event) => this.key(event);
    document.addEventListener("keydown", this.onKeyDown);
    Deck.current?.pause();
    document.getElementById("report").hidden = true;
    this.root.hidden = false;
    this.show();
  }

  get trial() {
    return this.test.trials[this.test.at];
  }

  // End what plays; the deck is forgotten first, as pausing it would ask for an update.
  silence() {
    const { deck } = this;
    this.deck = null;
    deck?.pause();
  }

  show() {
    this.silence();
    document.activeElement?.blur(); // of a button that is gone, or soon will be: keys are the page's
    if (this.trial) this.showTrial();
    else this.showEnd();
    window.scrollTo(0, 0);
  }

  showTrial() {
    const { trial, test } = this;
    const clip = study.clips[trial.clip];
    // Positions have no names: 0 is the open reference, n the n-th version.
    const names = [REFERENCE, ...trial.stimuli];
    this.deck = new Deck(clip, [...new Set(names)], () => this.update());
    this.position = 0;
    this.deck.choose(REFERENCE);
    this.playButton = element("button", { type: "button", onclick: press(() => this.play()) });
    this.status = element("span", { class: "status", role: "status" });
    this.playhead = element("div", { class: "playhead" });
    this.next = element("button", { type: "button", onclick: () => this.advance() }, "Next");
    const seek = (event) => this.deck.seek(along(event) * this.deck.duration);
    this.rows = names.map((name, number) => this.row(number));
    this.root.replaceChildren(
      element("h2", {}, `Clip ${test.at + 1} of ${test.trials.length}`),
      element("p", { class: "hint" },
        "How close is each version to the reference? One of them is the reference itself. ",
        "Keys: 0 the reference, 1–9 a version, space plays, arrows seek."),
      element("div", { class: "transport" }, this.playButton, this.status),
      element("div", { class: "line", onclick: seek }, this.playhead),
      ...this.rows.map((row) => row.root),
      this.scale(),
      element("div", { class: "choices" }, this.next,
        element("button", { type: "button", onclick: () => this.leave() }, "Break off")),
    );
    this.update();
  }

  row(number) {
    const label = number ? `Version ${number}` : "Reference";
    const button = element(
      "button", { type: "button", onclick: press(() => this.choose(number)) }, label,
    );
    const row = { root: element("div", { class: "stimulus" }, button), button };
    if (number) {
      const name = this.trial.stimuli[number - 1];
      const value = this.trial.answer[name];
      row.value = element("output", {}, value ?? "–");
      row.slider = element("input", {
        type: "range", min: 0, max: 100, step: 1, value: value ?? 50,
        "aria-label": `Rating of version ${number}`,
        oninput: () => this.rate(name, row),
      });
      row.root.append(row.slider, row.value);
    }
    return row;
  }

  scale() {
    const words = ["bad", "poor", "fair", "good", "excellent"];
    return element("div", { class: "scale" }, ...words.map((word) => element("span", {}, word)));
  }

  choose(number) {
    const name = number ? this.trial.stimuli[number - 1] : REFERENCE;
    this.position = number;
    this.deck.choose(name);
  }

  rate(name, row) {
    this.trial.answer[name] = Number(row.slider.value);
    row.value.textContent = row.slider.value;
    this.update();
  }

  play() {
    const said = (error) => (this.status.textContent = error ? String(error.message ?? error) : "");
    return Promise.resolve(this.deck.toggle()).then(() => said(null), said);
  }

  // Whether every version was heard and has its answer.
  get complete() {
    const { trial } = this;
    const heard = trial.stimuli.every((_, number) => trial.heard.includes(number + 1));
    return heard && trial.stimuli.every((name) => name in trial.answer);
  }

  update() {
    if (!this.deck || !this.next) return;
    const { trial, deck } = this;
    if (deck.playing && !trial.heard.includes(this.position)) trial.heard.push(this.position);
    this.playButton.textContent = deck.playing ? "Pause" : "Play";
    this.rows.forEach((row, number) => row.root.classList.toggle("on", number === this.position));
    this.next.disabled = !this.complete;
    this.next.title = this.complete ? "" : "Hear every version and answer first";
    remember(this.test);
    const follow = () => {
      if (this.deck !== deck) return;
      this.playhead.style.left = `${(100 * deck.position) / deck.duration}%`;
      if (deck.playing) requestAnimationFrame(follow);
    };
    follow();
  }

  key(event) {
    if (!this.deck) return;
    if (/^[0-9]$/.test(event.key)) {
      if (Number(event.key) < this.rows.length) this.choose(Number(event.key));
      return;
    }
    onKey(event, this.deck, { toggle: () => this.play() });
  }

  advance() {
    this.test.at += 1;
    remember(this.test);
    this.show();
  }

  showEnd() {
    const text = JSON.stringify(ratingsOf(this.test), null, 1);
    const link = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const name = this.test.listener.replace(/[^A-Za-z0-9._-]+/g, "_") || "listener";
    const { at, trials } = this.test;
    const done = at === 1 ? "1 clip rated" : `${at} clips rated`;
    const open = at < trials.length ? `, ${trials.length - at} to go` : "";
    const goOn = element("button", { type: "button", onclick: () => this.show() }, "Go on");
    this.root.replaceChildren(
      element("h2", {}, open ? "Broken off" : "Done"),
      element("p", {}, `${done}${open}. Save the file, then run plc bench report with it.`),
      element("p", {}, element(
        "a", { href: link, download: `ratings-${name}.json`, id: "ratings-file" }, "Save the ratings",
      )),
      ...(open ? [goOn] : []),
      element("button", { type: "button", onclick: () => this.close() }, "Back to the report"),
    );
  }

  // Keep what was answered; it can go on or be saved.
  leave() {
    this.silence();
    if (this.test.at) this.showEnd();
    else this.close();
  }

  // A test that is not at its end can go on later.
  close() {
    this.silence();
    document.removeEventListener("keydown", this.onKeyDown);
    if (!this.trial) remember(null);
    this.root.hidden = true;
    document.getElementById("report").hidden = false;
    document.getElementById("listen-resume").hidden = !this.trial;
  }
}

{
  const count = document.getElementById("listen-count");
  count.max = study.clips.length;
  count.value = Math.min(12, study.clips.length);
  document.getElementById("listen-setup").addEventListener("submit", (event) => {
    event.preventDefault();
    const listener = document.getElementById("listener").value.trim();
    if (study.clips.length) new ListeningTest(draw(listener, Number(count.value) || 1));
  });
  const resume = document.getElementById("listen-resume");
  resume.hidden = !remembered();
  resume.addEventListener("click", () => new ListeningTest(remembered()));
}
