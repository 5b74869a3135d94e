// The report's own script: its table, and the sections of the clips, which are drawn when they are opened.
// Texts of a record reach the page as text nodes and attributes only, never as HTML.
(() => {
  const REACH = 0.2; // seconds heard beyond a word's frames: a recogniser emits late and briefly
  const AROUND = 0.5;
  const PIXELS = 90; // the least width of a second
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const VALUE = new Uint8Array(128);
  for (let n = 0; n < 64; n += 1) VALUE[LETTERS.charCodeAt(n)] = n;
  const ENDS = { zh: "zh-Hans", yue: "zh-HK", ja: "ja", ko: "ko", en: "en" };
  // The colours of the overlay picture, see voxray.views.canvas.
  const THEMES = {
    light: {
      speech: ["#ffffff", "#c3c8cf", "#4a515b"],
      warm: ["#ffd9a0", "#ef6a1f", "#6d0b3a"],
      cold: ["#bfe0fb", "#3586cc", "#12235e"],
      wave: "#5d6673",
    },
    dark: {
      speech: ["#0e1116", "#454c57", "#a9b1bd"],
      warm: ["#4a1145", "#e2552f", "#fff0a8"],
      cold: ["#10275e", "#2f8fdd", "#d5f3ff"],
      wave: "#98a2b0",
    },
  };

  const { data, has, read, t } = page;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const sections = new Map(); // number of the clip -> its Section
  let printing = false;

  // --- Texts -------------------------------------------------------------------------------------------------------------

  page.translated(() => {
    table.count();
    for (const section of sections.values()) section.draw();
  });

  const known = (value) => typeof value === "number" && Number.isFinite(value);
  const fixed = (value, digits = 1) => (known(value) ? value.toFixed(digits).replace("-", "−") : "–");
  const signed = (value, digits = 1) => (known(value) && value > 0 ? "+" : "") + fixed(value, digits);
  const percent = (value, digits = 0) => (known(value) ? `${(100 * value).toFixed(digits)}%` : "–");
  const range = (one) => t("span", { start: fixed(one.start, 2), end: fixed(one.end, 2) });
  const causeName = (name) => t(`cause.${name}`, {}, name);

  // --- Elements ----------------------------------------------------------------------------------------------------------

  function h(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "style") Object.assign(node.style, value);
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const chip = (name) => h("span", { class: `cause${name === "unexplained" ? " none" : ""}` }, causeName(name));

  // --- The table ---------------------------------------------------------------------------------------------------------

  class Table {
    constructor() {
      this.body = document.querySelector("#table tbody");
      this.rows = [...this.body.rows];
      this.texts = this.rows.map((row) => row.textContent.toLowerCase());
      this.clips = [...document.querySelectorAll("details.clip")];
      this.by = "worst";
      this.down = false;
      for (const head of document.querySelectorAll("#table [data-sort]")) {
        head.querySelector("button").addEventListener("click", () => this.sort(head.dataset.sort));
      }
      const form = document.getElementById("filters");
      if (!form) return;
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", (event) => (event.target.id === "sort" ? this.sort(event.target.value) : this.filter()));
      form.reset();
      this.filter();
    }

    sort(by) {
      // Numbers are first asked for from the largest, names from the first.
      this.down = by === this.by ? !this.down : by !== "id" && by !== "worst";
      this.by = by;
      const value = (n) => (by === "worst" ? n : data.clips[n][by]);
      const order = data.clips.map((_, n) => n).sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null) || a - b; // what is not known comes last
        const larger = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
        return (this.down ? -larger : larger) || a - b;
      });
      this.body.append(...order.map((n) => this.rows[n]));
      document.getElementById("sections").append(...order.map((n) => this.clips[n]));
      for (const head of document.querySelectorAll("#table [data-sort]")) {
        if (head.dataset.sort === by) head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      const choice = document.getElementById("sort");
      if (choice) choice.value = by;
    }

    filter() {
      const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      const only = document.getElementById("wrong").checked;
      const wanted = [...document.querySelectorAll("[data-filter]")].filter((select) => select.value !== "");
      data.clips.forEach((clip, n) => {
        const chosen = wanted.every((select) =>
          select.dataset.filter === "cause"
            ? clip.causes.includes(select.value)
            : has(clip.groups, select.dataset.field) && clip.groups[select.dataset.field] === select.value,
        );
        const shown = chosen && (!only || clip.wrong > 0 || clip.failed) && words.every((word) => this.texts[n].includes(word));
        this.rows[n].hidden = !shown;
        this.clips[n].hidden = !shown;
      });
      this.count();
    }

    count() {
      const found = document.getElementById("found");
      if (found) found.textContent = t("clips.found", { shown: this.rows.filter((row) => !row.hidden).length, total: this.rows.length });
    }
  }

  // --- Sound -------------------------------------------------------------------------------------------------------------

  // Browsers seek inexactly in compressed sound, in Ogg by up to a third of a second; in a WAV file they hit the sample.
  async function seekable(piece) {
    try {
      const bytes = Uint8Array.from(atob(piece.sound.split(",")[1]), (letter) => letter.charCodeAt(0));
      const context = new OfflineAudioContext(1, 1, piece.rate);
      const samples = (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
      const file = new DataView(new ArrayBuffer(44 + 2 * samples.length));
      const word = (at, letters) => [...letters].forEach((letter, n) => file.setUint8(at + n, letter.charCodeAt(0)));
      word(0, "RIFF"), file.setUint32(4, 36 + 2 * samples.length, true), word(8, "WAVEfmt ");
      file.setUint32(16, 16, true), file.setUint16(20, 1, true), file.setUint16(22, 1, true); // PCM, mono
      file.setUint32(24, piece.rate, true), file.setUint32(28, 2 * piece.rate, true), file.setUint16(32, 2, true), file.setUint16(34, 16, true);
      word(36, "data"), file.setUint32(40, 2 * samples.length, true);
      samples.forEach((value, n) => file.setInt16(44 + 2 * n, Math.round(32767 * Math.max(-1, Math.min(1, value))), true));
      return URL.createObjectURL(new Blob([file], { type: "audio/wav" }));
    } catch {
      return piece.sound; // a browser that cannot decode may still play
    }
  }

  class Player {
    constructor(piece, head) {
      this.piece = piece;
      this.head = head;
      this.stop = null;
      this.audio = h("audio", { controls: true, preload: "metadata", class: "player" });
      piece.url = piece.url || seekable(piece);
      piece.url.then((url) => (this.audio.src = url));
      this.audio.addEventListener("play", () => {
        for (const other of document.querySelectorAll("audio")) if (other !== this.audio) other.pause();
        this.follow();
      });
      this.audio.addEventListener("pause", () => (this.stop = null));
      this.audio.addEventListener("timeupdate", () => this.check()); // goes on in a tab that is not seen
      this.audio.addEventListener("seeked", () => this.place());
    }

    async play(start, end) {
      this.audio.pause();
      if (this.audio.readyState === 0) await new Promise((ready) => this.audio.addEventListener("loadedmetadata", ready, { once: true }));
      this.audio.currentTime = Math.max(start - this.piece.start, 0);
      this.stop = end - this.piece.start;
      try {
        await this.audio.play();
      } catch {
        this.stop = null; // another word was chosen before this one began
      }
    }

    place() {
      const length = this.piece.end - this.piece.start;
      this.head.style.left = `${(100 * Math.min(this.audio.currentTime, length)) / length}%`;
      this.head.hidden = false;
    }

    check() {
      if (this.stop !== null && this.audio.currentTime >= this.stop) this.audio.pause();
    }

    follow() {
      this.place();
      this.check();
      if (!this.audio.paused) requestAnimationFrame(() => this.follow());
    }
  }

  // --- Pictures ----------------------------------------------------------------------------------------------------------

  function ramp(colours) {
    const parts = colours.map((one) => [1, 3, 5].map((at) => parseInt(one.slice(at, at + 2), 16)));
    return Array.from({ length: 64 }, (_, n) => {
      const at = (n / 63) * (parts.length - 1);
      const low = Math.min(Math.floor(at), parts.length - 2);
      return parts[low].map((value, channel) => value + (at - low) * (parts[low + 1][channel] - value));
    });
  }

  const palettes = Object.fromEntries(
    Object.entries(THEMES).map(([name, one]) => [name, { speech: ramp(one.speech), warm: ramp(one.warm), cold: ramp(one.cold), wave: one.wave }]),
  );
  const palette = () => palettes[dark.matches && !printing ? "dark" : "light"];

  // Evidence is given as amounts over spans; its density in time is what is drawn, relative to the largest.
  function densities(mistake) {
    const spans = ((mistake && mistake.evidence && mistake.evidence.spans) || []).filter((one) => one.end > one.start);
    const most = Math.max(...spans.map((one) => Math.abs(one.score) / (one.end - one.start)), 1e-12);
    return spans.map((one) => ({ ...one, size: one.score / (one.end - one.start) / most }));
  }

  function paintSpectrum(canvas, piece, spans) {
    const { bins, mel } = piece;
    const frames = mel.length / bins;
    const colours = palette();
    canvas.width = frames;
    canvas.height = bins;
    if (!frames) return;
    const context = canvas.getContext("2d");
    const image = context.createImageData(frames, bins);
    for (let x = 0; x < frames; x += 1) {
      const time = piece.first + x * piece.hop;
      const span = spans.find((one) => time >= one.start && time < one.end);
      const size = span ? span.size : 0;
      const glow = size < 0 ? colours.cold : colours.warm;
      for (let y = 0; y < bins; y += 1) {
        const value = VALUE[mel.charCodeAt(x * bins + y)];
        const at = 4 * ((bins - 1 - y) * frames + x);
        for (let channel = 0; channel < 3; channel += 1) {
          const grey = colours.speech[value][channel];
          image.data[at + channel] = grey + Math.abs(size) * (glow[value][channel] - grey);
        }
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  function paintWave(canvas, piece) {
    const columns = piece.wave.length / 2;
    canvas.width = columns;
    canvas.height = 64;
    const context = canvas.getContext("2d");
    context.fillStyle = palette().wave;
    for (let x = 0; x < columns; x += 1) {
      const [low, high] = [0, 1].map((n) => VALUE[piece.wave.charCodeAt(2 * x + n)]);
      context.fillRect(x, 63 - high, 1, Math.max(high - low, 1));
    }
  }

  // One stretch of sound: words, wave form, spectrogram, evidence, time, player.
  class Picture {
    constructor(section, piece) {
      this.section = section;
      this.piece = piece;
      this.length = piece.end - piece.start;
      this.wave = h("canvas", { class: "wave", "aria-hidden": "true" });
      const edge = piece.first - piece.hop / 2;
      const frames = piece.mel.length / piece.bins;
      const place = { left: this.at(edge), width: this.across(frames * piece.hop) };
      this.spectrum = h("canvas", { class: "spectrum", role: "img", "aria-label": t("picture", { id: section.record.id }), style: place });
      const hertz = data.ticks.map(([up, name]) => h("span", { class: "hertz", "aria-hidden": "true", style: { bottom: `${100 * up}%` } }, name));
      hertz[hertz.length - 1].append(" kHz");
      this.evidence = h("div", { class: "evidence", role: "img", "aria-label": t("evidence.curve"), title: t("evidence.curve") });
      this.picked = h("div", { class: "span picked", hidden: true });
      const head = h("div", { class: "head", hidden: true });
      const stage = h("div", { class: "stage", style: { width: `${Math.round(this.length * PIXELS)}px` } },
        ...this.words(), this.wave, h("div", { class: "banded" }, this.spectrum, ...hertz), this.evidence, this.axis(), this.picked, head);
      this.player = new Player(piece, head);
      this.node = h("figure", {}, h("div", { class: "scroller" }, stage), this.player.audio);
      paintWave(this.wave, piece);
    }

    at(time) {
      return `${(100 * (time - this.piece.start)) / this.length}%`;
    }

    across(seconds) {
      return `${(100 * seconds) / this.length}%`;
    }

    holds(one) {
      const middle = (one.start + one.end) / 2;
      return middle >= this.piece.start && middle <= this.piece.end;
    }

    words() {
      const { units } = this.section;
      const inside = units.map((unit, n) => ({ unit, n })).filter(({ unit }) => unit.recognised && this.holds(unit));
      return inside.flatMap(({ unit, n }, place) => {
        const next = inside[place + 2]; // the one after the next begins on the same line
        const end = next ? next.unit.start : this.piece.end;
        const attributes = {
          type: "button", class: `spoken${place % 2 ? " second" : ""}${unit.kind === "hit" ? "" : " wrong"}`,
          lang: this.section.lang, title: unit.recognised, tabindex: "-1", "data-unit": n,
          style: { left: this.at(unit.start), maxWidth: this.across(Math.max(end - unit.start, 0.02)) },
          onclick: () => this.section.choose(n, true),
        };
        const span = h("div", { class: "span word", style: { left: this.at(unit.start), width: this.across(Math.max(unit.end - unit.start, 0)) } });
        return [h("button", attributes, unit.recognised), span];
      });
    }

    axis() {
      const step = [0.5, 1, 2, 5].find((one) => this.length / one <= 16) || 10;
      const times = [];
      for (let n = Math.ceil(this.piece.start / step - 1e-9); n * step <= this.piece.end + 1e-9; n += 1) times.push(n * step);
      const last = times.length - 1;
      return h("div", { class: "axis", "aria-hidden": "true" }, ...times.map((time, n) =>
        h("span", { class: n === last && this.piece.end - time < 0.3 ? "last" : null, style: { left: this.at(time) } },
          n === last ? `${+time.toFixed(2)} s` : `${+time.toFixed(2)}`)));
    }

    show(unit, mistake) {
      const spans = densities(mistake);
      paintSpectrum(this.spectrum, this.piece, spans);
      const inside = spans.filter((one) => this.holds(one));
      this.evidence.hidden = !inside.length;
      this.evidence.replaceChildren(...inside.map((one) => {
        const style = { left: this.at(one.start), width: this.across(one.end - one.start), height: `${48 * Math.abs(one.size)}%` };
        style[one.size < 0 ? "top" : "bottom"] = "50%";
        return h("i", { class: one.size < 0 ? "against" : "for", style });
      }));
      const place = mistake || unit;
      this.picked.hidden = !place || !this.holds(place);
      if (place) Object.assign(this.picked.style, { left: this.at(place.start), width: this.across(Math.max(place.end - place.start, 0.01)) });
    }
  }

  // --- A clip ------------------------------------------------------------------------------------------------------------

  class Section {
    constructor(details, n) {
      this.details = details;
      this.n = n;
      this.record = { ...read(`record-${n}`) };
      this.media = read(`media-${n}`);
      for (const name of ["words", "mistakes", "tags"]) this.record[name] = this.record[name] || [];
      // What can be chosen: the edits, or the words where there was nothing to compare with.
      this.units = this.record.edits || this.record.words.map((word) => ({ ...word, kind: "hit", reference: "", recognised: word.text, mistake: null }));
      const spoken = this.record.tags.find((tag) => tag.kind === "language");
      this.lang = ENDS[spoken ? spoken.label : this.record.language] || null;
      this.spaced = !!this.record.errors && this.record.errors.unit === "word" || /[a-z가-힣] /i.test(this.record.text || "");
      const first = this.units.findIndex((unit) => known(unit.mistake));
      this.chosen = first < 0 ? null : first;
      this.draw();
    }

    get mistake() {
      const unit = this.chosen === null ? null : this.units[this.chosen];
      return unit && known(unit.mistake) ? this.record.mistakes[unit.mistake] : null;
    }

    draw() {
      const { record } = this;
      this.pictures = (this.media.pieces || []).map((piece) => new Picture(this, piece));
      this.panel = h("div", { class: "panel screen", "aria-live": "polite" });
      const parts = record.problem
        ? [h("p", { class: "failed" }, t("failed.is", { problem: record.problem }))]
        : [this.diff(), this.legend(), this.note(), ...this.pictures.map((picture) => picture.node), this.chips(), this.panel, ...this.paper()];
      this.body = this.details.querySelector(".body");
      this.body.replaceChildren(...parts.filter(Boolean), this.facts(), this.ends());
      this.mark();
    }

    diff() {
      if (!this.units.length) return h("p", {}, record_text(this.record));
      const compared = this.record.edits !== null && this.record.edits !== undefined;
      const buttons = this.units.map((unit, n) => {
        const told = compared ? t(`edit.of.${unit.kind}`, unit) : unit.recognised;
        const same = unit.kind === "hit" && (!compared || unit.reference === unit.recognised);
        const rows = same
          ? [h("span", { class: compared ? "same" : "" }, unit.recognised), compared ? h("span", { class: "same sign" }, "·") : null]
          : [h("span", { class: "up" }, unit.reference || h("span", { class: "sign" }, "+")), h("span", { class: "low" }, unit.recognised || h("span", { class: "sign" }, "−"))];
        return h("button", {
          type: "button", class: `${unit.kind}${unit.kind === "hit" ? "" : " wrong"}`, "data-unit": n, "aria-pressed": "false",
          "aria-label": `${told}, ${range(unit)}`, title: `${told}, ${range(unit)}`, onclick: () => this.choose(n, true),
        }, ...rows);
      });
      return h("div", { class: `diff${this.spaced ? " spaced" : ""}`, lang: this.lang, role: "group", "aria-label": t("text") }, ...buttons);
    }

    legend() {
      const signs = ["substitution", "deletion", "insertion"];
      const none = !this.record.edits;
      return h("div", { class: "legend" },
        none ? h("span", {}, t("errors.noreference")) : h("span", {}, t("legend.above")),
        ...(none || !this.record.mistakes.length ? [] : signs.map((kind) => h("span", { class: kind }, h("b", { "aria-hidden": "true", class: kind === "deletion" ? "up" : "low" }, page.language() === "zh" ? "字" : "ab"), ` ${t(`legend.${kind}`)}`))),
        h("span", { class: "choose" }, t("legend.choose")));
    }

    note() {
      const { media } = this;
      if (media.missing) return h("p", { class: "note" }, t(`media.${media.missing}`));
      const held = media.pieces.reduce((sum, piece) => sum + piece.end - piece.start, 0);
      if (held > media.duration - 0.05) return null;
      const values = { duration: fixed(media.duration), seconds: fixed(held), shown: media.around, total: this.record.mistakes.length };
      return h("p", { class: "note" }, t(media.around === null ? "media.excerpt.start" : "media.excerpt", values));
    }

    chips() {
      if (!this.record.edits) return null;
      if (!this.record.mistakes.length) return h("p", {}, t("errors.none"));
      return h("div", { class: "mistakes", role: "group", "aria-label": t("mistakes") }, ...this.record.mistakes.map((mistake, m) => {
        const told = !mistake.reference ? `+ ${mistake.recognised}` : !mistake.recognised ? `− ${mistake.reference}` : `${mistake.reference} → ${mistake.recognised}`;
        return h("button", { type: "button", "data-mistake": m, "aria-pressed": "false", "aria-label": `${t("mistake", { n: m + 1, told: t(`edit.of.${mistake.kind}`, mistake) })}, ${causeName(mistake.cause || "unexplained")}`,
          onclick: () => this.choose(this.units.findIndex((unit) => unit.mistake === m), true) },
        `${m + 1} `, h("span", { lang: this.lang }, told), chip(mistake.cause || "unexplained"));
      }));
    }

    // What is heard of a unit: its own time and up to REACH around, never more than half the way to the next.
    heard(n) {
      const unit = this.units[n];
      const [before, after] = [this.units[n - 1], this.units[n + 1]];
      const room = (gap) => Math.min(REACH, Math.max(0, gap / 2));
      const start = unit.start - room(before ? unit.start - before.end : 2 * REACH);
      const end = unit.end + room(after ? after.start - unit.end : 2 * REACH);
      return { start: Math.max(start, 0), end: Math.min(end, this.media.duration || end) };
    }

    choose(n, play = false) {
      this.chosen = n;
      this.mark();
      if (play) this.play(0);
    }

    play(around) {
      const span = this.heard(this.chosen);
      const picture = this.pictures.find((one) => one.holds(span));
      if (picture) picture.player.play(Math.max(span.start - around, picture.piece.start), Math.min(span.end + around, picture.piece.end));
    }

    mark() {
      const unit = this.chosen === null ? null : this.units[this.chosen];
      const { mistake } = this;
      for (const button of this.body.querySelectorAll(".diff [data-unit]")) {
        const own = this.units[button.dataset.unit];
        button.setAttribute("aria-pressed", String(own === unit || (mistake !== null && own.mistake === unit.mistake)));
      }
      for (const button of this.body.querySelectorAll("[data-mistake]")) {
        button.setAttribute("aria-pressed", String(mistake !== null && Number(button.dataset.mistake) === unit.mistake));
      }
      for (const picture of this.pictures) picture.show(unit, mistake);
      this.panel.replaceChildren(...(unit ? this.told(unit, mistake) : []));
    }

    told(unit, mistake) {
      const outside = !!this.media.pieces && !this.pictures.some((one) => one.holds(unit));
      const head = this.record.edits ? t(`edit.of.${unit.kind}`, unit) : unit.recognised;
      const button = (key, around) => h("button", { type: "button", class: "player", onclick: () => this.play(around) }, `▶ ${t(key)}`);
      const words = this.record.words.filter((word) => word.start < unit.end && word.end > unit.start);
      return [
        h("h3", {}, `${head}, ${range(unit)}`),
        outside ? h("p", { class: "note" }, t("media.outside")) : null,
        !this.media.pieces || outside ? null : h("div", { class: "controls" }, button("play", 0), button("around", AROUND)),
        words.length && unit.kind !== "deletion" ? h("p", {}, ...words.flatMap((word) => this.certainty(word))) : null,
        ...(mistake ? this.explained(mistake) : []),
      ].filter(Boolean);
    }

    certainty(word) {
      const values = { value: percent(word.confidence), calibrated: percent(word.calibrated) };
      const sure = known(word.calibrated) ? t("confidence.calibrated", values) : values.value;
      const tsallis = known(word.tsallis) ? ` · ${t("tsallis", { value: percent(word.tsallis) })}` : "";
      return [h("span", { lang: this.lang }, h("b", {}, word.text)), ` ${t("confidence")} ${sure}${tsallis} `];
    }

    explained(mistake) {
      const facts = [
        known(mistake.log_odds) ? t(mistake.log_odds > 0 ? "facts.odds.wrong" : "facts.odds.right", { odds: fixed(Math.abs(mistake.log_odds)), times: times(mistake.log_odds) }) : t("facts.odds.none"),
        known(mistake.rank) ? t(mistake.rank ? "facts.rank" : "facts.rank.first", { rank: mistake.rank }) : null,
      ];
      const around = [
        known(mistake.snr) ? t("facts.snr", { snr: fixed(mistake.snr, 0) }) : null,
        known(mistake.from_start) && known(mistake.to_end) ? t("facts.edges", { start: fixed(mistake.from_start, 2), end: fixed(mistake.to_end, 2) }) : null,
        known(mistake.rate) ? t("facts.rate", { rate: fixed(mistake.rate) }) : null,
        mistake.before || mistake.after ? t("facts.neighbours", { before: mistake.before || "–", after: mistake.after || "–" }) : null,
      ];
      const smallest = mistake.smallest_edit;
      return [
        h("p", {}, facts.filter(Boolean).join(" ")),
        h("p", {}, h("small", {}, around.filter(Boolean).join(" · "))),
        this.weighed(mistake.evidence),
        mistake.causes && mistake.causes.length ? h("div", { class: "trials" }, ...mistake.causes.filter(worthTelling).map(trial)) : null,
        smallest ? h("p", {}, t("smallest", { edit: smallest.edit, cost: known(smallest.cost) ? +smallest.cost.toFixed(3) : "–", stable: smallest.stable || "–" })) : null,
      ].filter(Boolean);
    }

    weighed(evidence) {
      if (!evidence || !evidence.spans.length) return null;
      const largest = [...evidence.spans].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, 4);
      const spans = largest.map((one) => `${range(one)} (${signed(one.score)})`).join(", ");
      const share = known(evidence.share_inside) ? ` ${t("evidence.share", { share: percent(evidence.share_inside) })}` : "";
      return h("p", {}, t("evidence.strongest", { spans, method: evidence.method }) + share);
    }

    // On paper nothing can be chosen, so that every mistake is told.
    paper() {
      if (!printing) return [];
      return this.record.mistakes.map((mistake, m) =>
        h("div", { class: "paper" }, h("h3", {}, `${t("mistake", { n: m + 1, told: t(`edit.of.${mistake.kind}`, mistake) })}, ${range(mistake)} `, chip(mistake.cause || "unexplained")), ...this.explained(mistake)));
    }

    facts() {
      const { record } = this;
      const rows = [];
      const row = (name, ...value) => rows.push(h("div", {}, h("dt", {}, name), h("dd", {}, ...value)));
      if (known(record.duration)) row(t("duration"), `${fixed(record.duration, 2)} s`);
      if (record.errors) {
        const { errors } = record;
        const counts = ["substitutions", "deletions", "insertions"].map((name) => `${errors[name]} ${t(`counts.${name}`)}`).join(", ");
        row(t("errors"), `${counts} / ${errors.length} (${percent(errors.rate, 1)})`);
        if (errors.other) row(t(`errors.unit.${errors.other.unit}`, {}, ""), `${percent(errors.other.rate, 1)}`);
        row(t("text"), t("errors.counted", { unit: t(`errors.unit.${errors.unit}`), normalisation: errors.normalisation }));
      }
      for (const tag of record.tags.filter((one) => one.kind !== "textnorm")) {
        const wanted = tag.wanted && tag.wanted !== tag.label ? ` ≠ ${tag.wanted}` : "";
        row(t(`tag.${tag.kind}`, {}, tag.kind), `${tag.label} ${percent(tag.probability)}${wanted}`);
      }
      for (const [name, value] of Object.entries(record.groups || {})) row(name, String(value));
      if (record.model) row(t("model"), [record.model.name, record.model.precision].filter(Boolean).join(", "));
      if (record.audio) row(t("sound"), record.audio);
      return h("dl", { class: "facts" }, ...rows);
    }

    ends() {
      const step = (way) => {
        let node = this.details;
        do node = way < 0 ? node.previousElementSibling : node.nextElementSibling; while (node && node.hidden);
        return node;
      };
      const go = (way) => (event) => {
        event.preventDefault();
        const node = step(way);
        if (node) reveal(node);
      };
      return data.clips.length < 2 ? "" : h("div", { class: "ends" },
        h("a", { href: "#clips" }, t("top")),
        h("a", { href: "#sections", onclick: go(-1) }, t("previous")), h("a", { href: "#sections", onclick: go(1) }, t("next")));
    }
  }

  const record_text = (record) => (record.text ? record.text : "–");
  const worthTelling = (cause) => cause.suspected || cause.tested || cause.named;

  function times(odds) {
    const value = Math.exp(Math.abs(odds));
    return value < 10 ? value.toFixed(1) : value < 1e5 ? String(Math.round(value)) : `10^${Math.floor(Math.log10(value))}`;
  }

  // What an experiment showed, in plain words. Log-odds are those of the mistake: the right words gain what it loses.
  function verdict(one) {
    const gain = known(one.before) && known(one.after) ? one.before - one.after : null;
    const other = known(one.before) && known(one.placebo) ? one.before - one.placebo : null;
    const values = { gain: signed(gain), placebo: signed(other) };
    if (one.named) {
      if (one.stays) return t("cause.stays");
      if (one.flips) return t("cause.flip");
      return gain !== null && other !== null ? t("cause.gain", values) : t("cause.named.plain");
    }
    if (!one.tested) return t(one.suspected ? "cause.untested" : "cause.unsuspected");
    if (one.passed) return t("cause.passed");
    if (one.flips && one.placebo_flips) return t("cause.no.placebo");
    if (gain === null) return t("cause.no");
    return t(other === null ? "cause.no.gain" : "cause.no.gain.placebo", values);
  }

  function trial(one) {
    const figures = { before: fixed(one.before), after: fixed(one.after), placebo: fixed(one.placebo) };
    const told = known(one.before) && known(one.after) ? t(known(one.placebo) ? "cause.between.placebo" : "cause.between", figures) : "";
    return h("div", { class: `trial${one.named ? " named" : ""}` },
      h("p", {}, one.named ? chip(one.cause) : h("b", {}, causeName(one.cause))),
      h("p", {}, verdict(one)),
      one.evidence ? h("p", {}, h("small", {}, `${t("cause.suspected.by")}: `, h("span", { lang: "en" }, one.evidence))) : null,
      one.tested && one.intervention ? h("p", {}, h("small", {}, `${t("cause.tested.by")}: `, h("span", { lang: "en" }, one.intervention), one.control ? `. ${t("cause.control")}: ` : "", one.control ? h("span", { lang: "en" }, one.control) : "", `. ${told}`)) : null);
  }

  // --- The page ----------------------------------------------------------------------------------------------------------

  function open(details) {
    const n = Number(details.dataset.n);
    if (!sections.has(n)) sections.set(n, new Section(details, n));
  }

  function reveal(details) {
    details.open = true;
    open(details); // now, so that the page has its length before it is scrolled
    details.scrollIntoView({ block: "start" });
    details.querySelector("summary").focus({ preventScroll: true });
  }

  const table = new Table();
  for (const details of document.querySelectorAll("details.clip")) {
    details.addEventListener("toggle", () => {
      if (details.open) open(details);
      else for (const audio of details.querySelectorAll("audio")) audio.pause();
    });
  }
  document.getElementById("table").addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-n]");
    if (!row || getSelection().toString()) return;
    event.preventDefault();
    history.replaceState(null, "", `#clip-${row.dataset.n}`);
    reveal(document.getElementById(`clip-${row.dataset.n}`));
  });
  dark.addEventListener("change", () => sections.forEach((section) => section.draw()));
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    for (const details of document.querySelectorAll("details.clip:not([hidden])")) open(details);
    for (const section of sections.values()) section.draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const details of closed) details.open = false;
    for (const section of sections.values()) section.draw();
  });
  const start = /^#clip-\d+$/.test(location.hash) ? document.getElementById(location.hash.slice(1)) : null;
  if (start) reveal(start);
  else if (data.clips.length === 1) {
    document.querySelector("details.clip").open = true;
    open(document.querySelector("details.clip"));
  }
})();
