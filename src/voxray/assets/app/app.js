// Draws the panels of the page from the data that the server sends. Every text goes in as text, never as markup; nothing is computed
// here but places on the screen.
(() => {
  'use strict';

  const listeners = new Set();
  let tongue = (navigator.language || 'en').toLowerCase().startsWith('zh') ? 'zh' : 'en';

  const say = (key, values = {}) => {
    const told = (window.voxrayWords[tongue] || {})[key];
    return (told === undefined ? key : told).replace(/\{(\w+)\}/g, (_, name) => (values[name] === undefined ? '' : String(values[name])));
  };

  const make = (tag, given = {}, ...children) => {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith('on')) one.addEventListener(name.slice(2), value);
      else if (name === 'text') one.textContent = value;
      else if (name === 'style') Object.entries(value).forEach(([key, set]) => one.style.setProperty(key, set));
      else one.setAttribute(name, value === true ? '' : value);
    }
    one.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return one;
  };

  const unpacked = (packed) => {
    const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    return new Int16Array(bytes.buffer);
  };
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const number = (value, digits = 2) => (value === null || value === undefined ? '–' : Number(value).toFixed(digits));
  const signed = (value, digits = 2) => (value > 0 ? '+' : '') + number(value, digits).replace('-', '−');
  const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
  const shown = (text) => text.trim() || '␣';
  const hertz = (mel) => { // of a mel filter's edge, 0 to 80, over 20 to 8000 Hz; Kaldi's mel scale, for the hover text
    const scale = (one) => 1127 * Math.log1p(one / 700);
    const low = scale(20), high = scale(8000);
    return 700 * (Math.exp((low + ((high - low) * (mel + 0.5)) / 81) / 1127) - 1);
  };
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const kindOf = (kind) => say(`${kind}.kind`);

  const links = (files, key = 'files') => (files && files.length
    ? make('p', { class: 'vx-links' }, make('span', { text: say(key) }),
      ...files.map(([name, url]) => make('a', { href: url, download: '', text: say(name) })))
    : null);

  /** A picture for light and one for dark; the browser fetches the one that is seen. */
  const themed = (urls, alt) => urls.map((url, index) => make('img', { src: url, class: index ? 'vx-dark' : 'vx-light', alt, loading: 'lazy' }));

  // --- Sound ------------------------------------------------------------------------------------------------------------

  let playing = null;
  const halt = () => { if (playing) { playing.pause(); playing = null; } };

  /** Plays a stretch of an audio element and stops at its end. */
  const play = (audio, start, end) => {
    if (playing && playing !== audio) playing.pause();
    playing = audio;
    audio.currentTime = Math.max(0, start);
    audio.dataset.until = end;
    audio.play().catch(() => {});
  };
  const watchEnd = (audio) => {
    const until = Number(audio.dataset.until || 'NaN');
    if (until && audio.currentTime >= until) {
      audio.pause();
      delete audio.dataset.until;
    }
  };

  const sounds = new Map();
  /** Fetches a sound whole, so that seeking in it is exact. */
  const loaded = async (url) => {
    if (!sounds.has(url)) {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error((await answer.json()).error);
      if (sounds.size > 12) sounds.clear();
      sounds.set(url, URL.createObjectURL(await answer.blob()));
    }
    return sounds.get(url);
  };
  const player = (url, given = {}) => {
    const audio = make('audio', { controls: true, preload: 'auto', ...given });
    loaded(url).then((source) => { audio.src = source; }).catch((error) => audio.replaceWith(problem(error.message)));
    return audio;
  };
  const problem = (text) => make('p', { class: 'vx-problem', role: 'alert', text });
  const playButton = (key, url) => make('button', { type: 'button', class: 'vx-play', 'data-sound': url, text: say(key), onclick: async () => {
    halt();
    playing = new Audio(await loaded(url));
    playing.play().catch(() => {});
  } });

  // --- Taking a sound in --------------------------------------------------------------------------------------------------

  const send = async (own, blob, name) => {
    own.state.busy = true;
    own.state.problem = '';
    redraw(own);
    try {
      if (blob.size > own.props.value.bytes) {
        throw new Error(`${name}: ${say('limits', { seconds: own.props.value.seconds, megabytes: own.props.value.bytes / 1e6 })}`);
      }
      const answer = await fetch('/voxray/sound', { method: 'POST', body: blob, headers: { 'X-Name': encodeURIComponent(name) } })
        .catch(() => { throw new Error(say('error.network')); });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.error);
      own.trigger('upload', { token: told.token, name: told.name });
    } catch (error) {
      own.state.problem = error.message;
    }
    own.state.busy = false;
    redraw(own);
  };

  const record = async (own) => {
    if (own.state.recorder) {
      own.state.recorder.stop();
      return;
    }
    own.state.problem = '';
    try {
      if (!navigator.mediaDevices) throw new Error(say('record.secure'));
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const recorder = new MediaRecorder(stream);
      const parts = [];
      const begun = performance.now();
      const clock = setInterval(() => {
        own.state.seconds = Math.round((performance.now() - begun) / 1000);
        if (own.state.seconds >= own.props.value.seconds && recorder.state === 'recording') recorder.stop();
        redraw(own);
      }, 500);
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        clearInterval(clock);
        stream.getTracks().forEach((track) => track.stop());
        own.state.recorder = null;
        send(own, new Blob(parts, { type: recorder.mimeType }), 'microphone');
      };
      recorder.start(250);
      own.state.seconds = 0;
      own.state.recorder = recorder;
    } catch (error) {
      own.state.problem = say('record.denied', { reason: error.message });
    }
    redraw(own);
  };

  const intake = (own) => {
    const { value } = own.props;
    const { state } = own;
    const input = make('input', { type: 'file', class: 'vx-unseen', accept: 'audio/*,video/*', 'aria-label': say('choose'), onchange: () => {
      if (input.files.length) send(own, input.files[0], input.files[0].name);
    } });
    const zone = make('div', { class: 'vx-drop' },
      make('strong', { text: say(value.second ? 'second' : 'drop') }),
      make('label', { class: 'vx-file' }, say('choose'), input),
      make('small', { text: say('limits', { seconds: value.seconds, megabytes: value.bytes / 1e6 }) }));
    zone.addEventListener('dragover', (event) => { event.preventDefault(); zone.classList.add('over'); });
    zone.addEventListener('dragleave', () => zone.classList.remove('over'));
    zone.addEventListener('drop', (event) => {
      event.preventDefault();
      zone.classList.remove('over');
      if (event.dataTransfer.files.length) send(own, event.dataTransfer.files[0], event.dataTransfer.files[0].name);
    });
    const button = make('button', { type: 'button', class: `vx-record${state.recorder ? ' on' : ''}`, onclick: () => record(own),
      text: state.recorder ? `${say('record.stop')} (${say('recording', { seconds: state.seconds })})` : say('record') });
    const examples = make('details', { class: 'vx-examples', open: state.open === undefined ? !value.second && window.innerWidth > 640 : state.open,
      ontoggle: (event) => { state.open = event.target.open; } }, make('summary', { text: say('example') }),
      make('ul', {}, ...value.examples.map(([name, text]) => make('li', {},
        make('button', { type: 'button', 'data-example': name, title: text, onclick: () => own.trigger('select', { example: name }) },
          make('b', { text: name.replaceAll('_', ' ') }), make('span', { text }))))));
    return [zone, button, state.busy && make('p', { role: 'status', text: say('send') }), state.problem && problem(state.problem), examples];
  };

  // --- Listen and look ------------------------------------------------------------------------------------------------------

  const HEIGHTS = { wave: 54, map: 168, curve: 62, axis: 18 };

  const look = (own) => {
    const { value } = own.props;
    const { state } = own;
    const overlay = shownOverlay(own);
    if (!value) return [make('p', { class: 'vx-hint', text: say('hint.nothing') })];
    if (state.sound !== value.sound) {
      halt();
      state.sound = value.sound;
      state.audio = player(value.sound, { 'aria-label': value.name });
      state.audio.addEventListener('timeupdate', () => watchEnd(state.audio));
      state.audio.addEventListener('pause', () => { delete state.audio.dataset.until; });
      state.grey = value.mel ? greys(value.mel) : null;
    }
    const stack = make('div', { class: 'vx-stack', role: 'img', 'aria-label': say('map.name') },
      make('canvas', { class: 'vx-canvas' }), make('div', { class: 'vx-cursor' }), make('div', { class: 'vx-tip', hidden: true }));
    own.later = () => drawStack(own, stack);
    const chosen = state.target;
    const pick = (one) => () => {
      state.target = one.target;
      own.root.querySelectorAll('[data-target]').forEach((other) => other.setAttribute('aria-pressed', other.dataset.target === one.target));
      play(state.audio, one.start - 0.05, one.end + 0.05);
      own.trigger('select', { target: one.target });
    };
    const spoken = (one, kind) => make('button', { type: 'button', class: `vx-${kind}`, 'data-target': one.target,
      'aria-pressed': String(one.target === chosen), style: { '--doubt': 1 - one.confidence },
      title: say('play.word', { text: shown(one.text), start: number(one.start), end: number(one.end), confidence: number(one.confidence) }),
      onclick: pick(one) }, make('span', { text: shown(one.text) }), make('small', { text: number(one.confidence) }));
    const row = (title, items) => items.length && make('div', { class: 'vx-row' }, make('h4', { text: title }), make('div', { class: 'vx-items' }, items));
    return [
      make('p', { class: 'vx-text', lang: '', text: value.text || say('nothing') }),
      make('p', { class: 'vx-sub', text: `${value.name} · ${number(value.duration)} s · ${value.model}` }),
      row(say('words'), value.words.map((one) => spoken(one, 'word'))),
      row(say('tokens'), value.tokens.map((one) => spoken(one, 'token'))),
      row(say('tags'), value.tags.map((one) => make('button', { type: 'button', class: 'vx-tag', 'data-target': one.target,
        'aria-pressed': String(one.target === chosen), style: { '--doubt': 1 - one.probability }, onclick: pick(one) },
      make('span', { text: `${kindOf(one.kind)}: ${one.label}` }), make('small', { text: number(one.probability) })))),
      state.audio, stack, overlay ? facts(own, overlay) : make('p', { class: 'vx-hint', text: say('choose.word') }), links(value.files, 'files.all'),
    ];
  };

  const facts = (own, overlay) => make('div', { class: 'vx-facts' },
    make('p', {}, make('strong', { text: shown(overlay.label) }),
      overlay.against ? ` ${say('against.choose', { text: overlay.against })}` : '',
      overlay.view ? make('em', { text: ` ${say('view.warning')}` }) : null),
    make('dl', {}, ...overlay.facts.map(([name, value]) => make('div', {},
      make('dt', { text: window.voxrayWords[tongue][`fact.${name}`] ? say(`fact.${name}`) : name }),
      make('dd', { text: name === 'prompt_mass' ? percent(value) : signed(value, Math.abs(value) < 0.005 && value ? 5 : 2) })))),
    overlay.sounds && Object.keys(overlay.sounds).length
      ? make('p', { class: 'vx-links' }, ...Object.entries(overlay.sounds).map(([keep, url]) => playButton(keep, url))) : null,
    links(overlay.files),
    make('p', { class: 'vx-sub', text: `${overlay.unit} · ${overlay.provenance}` }),
    ...overlay.notes.map((note) => make('p', { class: 'vx-sub', text: note })));

  const greys = (mel) => {
    const values = bytesOf(mel.data);
    return { values, frames: mel.frames, bands: mel.bands };
  };

  /** An image of one pixel a cell: the spectrogram in greys. */
  const greyImage = (grey) => {
    const dark = document.body.classList.contains('dark');
    if (grey.drawn && grey.dark === dark) return grey.drawn;
    const image = new ImageData(grey.frames, grey.bands), { data } = image;
    for (let frame = 0; frame < grey.frames; frame += 1) {
      for (let band = 0; band < grey.bands; band += 1) {
        const strength = 0.75 * grey.values[frame * grey.bands + band];
        const level = dark ? 18 + 0.75 * strength : 255 - strength;
        const at = 4 * ((grey.bands - 1 - band) * grey.frames + frame);
        data[at] = level; data[at + 1] = level; data[at + 2] = level; data[at + 3] = 255;
      }
    }
    Object.assign(grey, { dark, drawn: bitmap(image) });
    return grey.drawn;
  };
  const bitmap = (image) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext('2d').putImageData(image, 0, 0);
    return canvas;
  };
  const WARM = [228, 92, 20], COLD = [40, 124, 205];

  const tints = new WeakMap();
  /** An image of one pixel a cell: warm for the target, cold against it, clear for nothing. */
  const tintImage = (overlay) => {
    const [bands, columns] = overlay.cells.shape;
    if (tints.has(overlay)) return tints.get(overlay);
    const values = unpacked(overlay.cells);
    const image = new ImageData(columns, bands), { data } = image;
    for (let band = 0; band < bands; band += 1) {
      for (let column = 0; column < columns; column += 1) {
        const value = values[band * columns + column] / 32767;
        const at = 4 * ((bands - 1 - band) * columns + column);
        [data[at], data[at + 1], data[at + 2]] = value >= 0 ? WARM : COLD;
        data[at + 3] = 240 * Math.abs(value) ** 0.7;
      }
    }
    tints.set(overlay, bitmap(image));
    return tints.get(overlay);
  };

  /** The map of what was chosen last: answers may come in another order than the clicks. */
  const shownOverlay = (own) => {
    const { overlay } = own.props;
    const { state } = own;
    if (overlay && overlay.target === state.target) state.overlay = overlay;
    return overlay && state.overlay && state.overlay.target === state.target ? state.overlay : null;
  };

  const drawStack = (own, stack) => {
    const { value } = own.props;
    const { state } = own;
    const overlay = shownOverlay(own);
    const canvas = stack.querySelector('canvas');
    const width = stack.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    const bottoms = [HEIGHTS.wave, HEIGHTS.wave + HEIGHTS.map, HEIGHTS.wave + HEIGHTS.map + (overlay ? HEIGHTS.curve : 0)];
    const height = bottoms[2] + HEIGHTS.axis;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    canvas.style.height = `${height}px`;
    const context = canvas.getContext('2d');
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    const x = (seconds) => (seconds / value.duration) * width;
    const ink = colour('--body-text-color'), soft = colour('--body-text-color-subdued'), accent = `rgb(${WARM})`, contrast = `rgb(${COLD})`;
    drawWave(context, value.wave, width, soft);
    if (state.grey && value.mel) {
      context.drawImage(greyImage(state.grey), x(value.mel.start), HEIGHTS.wave, x(value.mel.hop * value.mel.frames), HEIGHTS.map);
    }
    if (overlay) {
      const first = overlay.times[0], last = overlay.times[overlay.times.length - 1];
      context.drawImage(tintImage(overlay), x(first), HEIGHTS.wave, x(last - first), HEIGHTS.map);
      drawCurve(context, overlay, x, bottoms, [accent, contrast, soft]);
      if (overlay.span) {
        context.strokeStyle = ink;
        context.strokeRect(x(overlay.span[0]), HEIGHTS.wave + 0.5, Math.max(x(overlay.span[1] - overlay.span[0]), 2), HEIGHTS.map - 1);
      }
    }
    drawAxis(context, value.duration, x, bottoms[2], soft);
    follow(own, stack, x);
    point(own, stack, width, bottoms);
  };

  const drawWave = (context, wave, width, ink) => {
    const values = unpacked(wave), columns = wave.shape[0], middle = HEIGHTS.wave / 2;
    context.fillStyle = ink;
    for (let column = 0; column < columns; column += 1) {
      const low = values[2 * column] / 32767, high = values[2 * column + 1] / 32767;
      context.fillRect((column / columns) * width, middle - high * middle * 0.95, Math.max(width / columns, 0.7), Math.max((high - low) * middle * 0.95, 0.7));
    }
  };

  const drawCurve = (context, overlay, x, bottoms, [accent, contrast, soft]) => {
    const values = unpacked(overlay.curve);
    const { times } = overlay;
    const least = values.reduce((a, b) => Math.min(a, b), 0), most = values.reduce((a, b) => Math.max(a, b), 0);
    const room = HEIGHTS.curve - 8, scale = room / Math.max(most - least, 1), zero = bottoms[1] + 4 + most * scale;
    values.forEach((value, index) => {
      context.fillStyle = value >= 0 ? accent : contrast;
      const top = value >= 0 ? zero - value * scale : zero;
      context.fillRect(x(times[index]), top, Math.max(x(times[index + 1]) - x(times[index]), 0.6), Math.abs(value) * scale);
    });
    context.fillStyle = soft;
    context.fillRect(0, zero, x(times[times.length - 1]), 0.6);
  };

  const drawAxis = (context, duration, x, top, soft) => {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((one) => x(one) >= 46) || 30;
    context.fillStyle = soft;
    context.font = '11px system-ui, sans-serif';
    for (let at = 0; at <= duration; at += step) {
      context.fillRect(x(at), top, 0.7, 4);
      context.fillText(`${number(at, step < 1 ? 1 : 0)} s`, Math.min(x(at) + 2, x(duration) - 30), top + 14);
    }
  };

  /** Moves the cursor with the sound, and lights the word that is spoken. */
  const follow = (own, stack, x) => {
    const cursor = stack.querySelector('.vx-cursor');
    const { audio } = own.state;
    const place = () => {
      cursor.style.transform = `translateX(${x(audio.currentTime)}px)`;
      const now = audio.currentTime;
      own.root.querySelectorAll('.vx-word').forEach((button, index) => {
        const word = own.props.value.words[index];
        button.classList.toggle('now', !audio.paused && word && now >= word.start - 0.05 && now <= word.end + 0.05);
      });
      watchEnd(audio);
      if (!audio.paused && stack.isConnected) requestAnimationFrame(place);
    };
    audio.onplay = place;
    audio.onseeked = place;
    place();
  };

  const point = (own, stack, width, bottoms) => {
    const tip = stack.querySelector('.vx-tip');
    const { value } = own.props;
    const overlay = shownOverlay(own);
    stack.onclick = (event) => { own.state.audio.currentTime = ((event.clientX - stack.getBoundingClientRect().left) / width) * value.duration; };
    stack.onmouseleave = () => { tip.hidden = true; };
    stack.onmousemove = (event) => {
      const box = stack.getBoundingClientRect();
      const left = event.clientX - box.left, top = event.clientY - box.top;
      const seconds = (left / width) * value.duration;
      const parts = [`${number(seconds)} s`];
      if (top >= bottoms[0] && top < bottoms[1]) parts.push(`${Math.round(hertz(80 * (1 - (top - bottoms[0]) / HEIGHTS.map)))} Hz`);
      if (overlay) parts.push(...valueAt(overlay, seconds, 80 * (1 - (top - bottoms[0]) / HEIGHTS.map), top >= bottoms[1]));
      tip.textContent = parts.join(' · ');
      tip.hidden = false;
      tip.style.transform = `translate(${Math.min(left + 10, width - tip.offsetWidth - 2)}px, ${Math.max(top - 30, 0)}px)`;
    };
  };

  const valueAt = (overlay, seconds, mel, summed) => {
    const column = overlay.times.findIndex((edge, index) => seconds >= edge && seconds < overlay.times[index + 1]);
    if (column < 0) return [];
    if (summed || overlay.cells.shape[0] === 1) return [`${signed(unpacked(overlay.curve)[column] * overlay.curve.scale, 4)} ${overlay.unit}`];
    const band = overlay.mels.findIndex((edge, index) => mel >= edge && mel < overlay.mels[index + 1]);
    if (band < 0) return [];
    return [`${signed(unpacked(overlay.cells)[band * overlay.cells.shape[1] + column] * overlay.cells.scale, 5)} ${overlay.unit}`];
  };

  // --- How it was decided -----------------------------------------------------------------------------------------------------

  const decision = (own) => {
    const { value } = own.props;
    if (!value) return [];
    const line = (key, text, note = '') => make('div', {}, make('dt', { text: say(key) }), make('dd', { text }), note && make('small', { text: note }));
    const settled = value.layer >= value.layers ? say('layer.settled.no', value) : say('layer.settled.of', value);
    const rows = [
      line('probability', percent(value.probability)),
      value.calibrated !== null && line('calibrated', percent(value.calibrated)),
      line('tsallis', number(value.tsallis)),
      line('margin', signed(value.margin), say('margin.note')),
      value.kind !== 'tag' && line('margin_spoken', signed(value.margin_spoken)),
      value.blank !== null && line('blank', signed(value.blank), say('blank.note')),
      value.time !== null && line('emission', `${number(value.time)} s`),
      line('layer.settled', settled),
      value.agreement !== null && line('agreement', say(value.explained ? 'agreement.yes' : 'agreement.no', { value: number(value.agreement) })),
      value.versions > 0 && line('held', say('held.of', value)),
    ];
    const most = Math.max(...value.rivals.map(([, share]) => share), value.probability, 1e-9);
    const bar = (text, share, own_) => make('li', { class: own_ ? 'own' : '' }, make('span', { text: shown(text) }),
      make('i', { style: { width: `${(100 * share) / most}%` } }), make('small', { text: share < 0.001 ? share.toExponential(1) : percent(share) }));
    return [make('details', { open: true }, make('summary', { text: `${say('decision')}: ${value.title}` }),
      make('dl', {}, rows),
      make('h4', { text: say('rivals') }),
      make('ul', { class: 'vx-shares' }, bar(value.title.split("'")[1] || value.title, value.probability, true), ...value.rivals.map(([text, share]) => bar(text, share))),
      value.segments.length ? make('h4', { text: say('segments') }) : null,
      make('ol', { class: 'vx-segments' }, ...value.segments.map(([start, end, score]) => make('li', {},
        make('button', { type: 'button', text: `${number(start)}–${number(end)} s`, onclick: () => {
          const audio = document.querySelector('.vx-look audio');
          if (audio) play(audio, start, end);
        } }), ` ${signed(score)}`))))];
  };

  // --- Attention, tags --------------------------------------------------------------------------------------------------------

  const MEASURES = ['near', 'entropy', 'distance', 'offset', 'prompt_mass', 'self_mass', 'sharpness'];

  const heads = (own) => {
    const { value } = own.props;
    if (!value) return [];
    const name = own.state.measure || 'near';
    const rows = value.measures[name];
    const every = rows.flat().filter((one) => one !== null);
    const low = Math.min(...every), high = Math.max(...every);
    const choose = make('select', { 'aria-label': say('heads.measure'), onchange: (event) => { own.state.measure = event.target.value; redraw(own); } },
      ...MEASURES.map((one) => make('option', { value: one, selected: one === name, text: say(`measure.${one}`) })));
    const cell = (layer, head) => {
      const found = rows[layer][head];
      const role = say(`role.${value.roles[layer][head]}`);
      const text = `${say('layer')} ${layer}, ${say('head')} ${head}: ${role}, ${say(`measure.${name}`)} ${number(found, 3)}`;
      return make('td', {}, make('button', { type: 'button', 'data-layer': layer, 'data-head': head, title: text, 'aria-label': text,
        style: { '--share': found === null || high <= low ? 0 : (found - low) / (high - low) },
        onclick: () => own.trigger('select', { layer, head }) }, role));
    };
    return [make('h3', { text: say('heads') }), make('p', { class: 'vx-sub', text: say('heads.hint') }),
      make('label', {}, `${say('heads.measure')} `, choose),
      make('div', { class: 'vx-scroll' }, make('table', {},
        make('tr', {}, make('th', { text: '' }), ...rows[0].map((_, head) => make('th', { scope: 'col', text: head }))),
        ...rows.map((one, layer) => make('tr', {}, make('th', { scope: 'row', text: layer }), ...one.map((_, head) => cell(layer, head)))))),
    make('details', {}, make('summary', { text: say('file.heads') }), ...themed(value.pictures, say('file.heads')))];
  };

  const bars = (own) => {
    const { value } = own.props;
    if (!value) return [make('p', { class: 'vx-hint', text: say('hint.nothing') })];
    if (!value.tags.length) return [make('p', { class: 'vx-hint', text: say('hint.tags') })];
    return [make('div', { class: 'vx-cards' }, ...value.tags.map((tag) => make('section', {},
      make('h3', { text: `${kindOf(tag.kind)}: ${tag.label}` }),
      make('ul', { class: 'vx-shares' }, ...Object.entries(tag.probabilities).slice(0, 6).map(([label, share]) => make('li', { class: label === tag.label ? 'own' : '' },
        make('span', { text: label }), make('i', { style: { width: `${100 * share}%` } }), make('small', { text: share < 0.001 && share > 0 ? share.toExponential(1) : percent(share) })))))))];
  };

  const soundsOf = (own) => {
    const { value } = own.props;
    if (!value || !value.sounds) return [];
    return [make('h3', { text: say('sounds') }), make('p', { class: 'vx-links' }, ...value.sounds.map(([label, url]) => {
      const button = playButton('play', url);
      button.textContent = `▶ ${label}`;
      return button;
    })), links(value.files)];
  };

  // --- Why ----------------------------------------------------------------------------------------------------------------------

  const diff = (edits, [first, second]) => make('p', { class: 'vx-diff' }, ...edits.map((one) => make('span', { class: one.kind },
    one.kind === 'hit' ? one[second] : [one[first] && make('del', { text: one[first] }), one[second] && make('ins', { text: one[second] })], ' ')));

  const why = (own) => {
    const { value } = own.props;
    if (!value) return [make('p', { class: 'vx-hint', text: say('why.none') })];
    const { errors } = value;
    const rate = errors.rate === null ? '–' : percent(errors.rate);
    const frame = make('iframe', { src: value.report, title: say('file.report') });
    frame.addEventListener('load', () => {
      const inner = frame.contentDocument;
      if (!inner) return;
      const fit = () => { frame.style.height = `${Math.min(Math.max(inner.documentElement.scrollHeight + 8, 400), 3000)}px`; };
      new ResizeObserver(fit).observe(inner.body);
      fit();
    });
    return [make('p', { class: 'vx-text', text: errors.substitutions + errors.deletions + errors.insertions ? say('why.rate', { ...errors, rate }) : say('why.right') }),
      diff(value.edits, ['reference', 'recognised']),
      make('ol', {}, ...value.mistakes.map((one) => make('li', {}, say('why.rather', { reference: one.reference || '∅', recognised: one.recognised || '∅' }),
        ` · ${number(one.start)}–${number(one.end)} s · `, make('strong', { text: one.cause ? say('why.cause', { cause: one.cause }) : say('why.unexplained') })))),
      ...value.notes.map((note) => make('p', { class: 'vx-sub', text: note })),
      links(value.files), make('p', { class: 'vx-sub', text: say('why.more') }), frame];
  };

  // --- Compare ------------------------------------------------------------------------------------------------------------------

  const compare = (own) => {
    const { value } = own.props;
    if (!value) return [make('p', { class: 'vx-hint', text: say('compare.none') })];
    const side = (one) => make('section', {}, make('h3', { text: one.title }), make('p', { class: 'vx-text', text: one.text || say('nothing') }),
      player(one.sound, { 'aria-label': one.title }),
      make('div', { class: 'vx-items' }, ...one.words.map((word) => make('span', { class: 'vx-word', style: { '--doubt': 1 - word.confidence } },
        make('span', { text: shown(word.text) }), make('small', { text: number(word.confidence) })))),
      make('ul', { class: 'vx-plain' }, ...one.tags.map((tag) => make('li', { text: `${kindOf(tag.kind)}: ${tag.label} ${percent(tag.probability)}` }))),
      make('p', { class: 'vx-sub', text: `${one.model} · ${one.language} · ${number(one.duration)} s` }));
    const told = value.difference, { forced } = value;
    return [make('div', { class: 'vx-cards wide' }, ...value.sides.map(side)),
      make('p', { text: told.errors ? say('compare.changed', told) : say('compare.same') }),
      told.errors ? diff(told.edits, ['first', 'second']) : null,
      forced ? make('p', { text: say(forced.support === null ? 'compare.forced.none' : 'compare.forced', { ...forced, support: signed(forced.support),
        changed: forced.changed === null ? '–' : percent(forced.changed) }) }) : null,
      value.verdict ? make('div', {}, make('h3', { text: say('verdict') }), make('ul', { class: 'vx-verdict' },
        ...value.verdict.map((line) => make('li', { text: line })))) : null,
      links(value.files),
      ...themed(value.pictures, say('heatmap'))];
  };

  // --- Live ---------------------------------------------------------------------------------------------------------------------

  const page = Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, '0')).join('');
  const post = async (query, body) => {
    const answer = await fetch(`/voxray/live?${new URLSearchParams(query)}`, { method: 'POST', body, headers: { 'X-Page': `live-${page}` } });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    return told;
  };

  const CAPTURE = `class Capture extends AudioWorkletProcessor {
    constructor() { super(); this.kept = new Float32Array(0); }
    process(inputs) {
      const block = inputs[0][0];
      if (block) {
        const joined = new Float32Array(this.kept.length + block.length);
        joined.set(this.kept); joined.set(block, this.kept.length);
        this.kept = joined;
        if (joined.length >= sampleRate / 5) { this.port.postMessage(joined); this.kept = new Float32Array(0); }
      }
      return true;
    } }
    registerProcessor('capture', Capture);`;

  const listen = async (own, asked) => {
    const { state } = own;
    Object.assign(state, { finals: [], partial: null, steps: [], problem: '', running: true, waiting: [], files: null });
    try {
      if (!navigator.mediaDevices) throw new Error(say('record.secure'));
      await post({ do: 'begin', ...asked });
      const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
      const context = new AudioContext();
      const code = URL.createObjectURL(new Blob([CAPTURE], { type: 'text/javascript' }));
      await context.audioWorklet.addModule(code);
      const node = new AudioWorkletNode(context, 'capture');
      context.createMediaStreamSource(stream).connect(node);
      node.connect(context.destination);
      node.port.onmessage = (event) => { state.waiting.push(event.data); };
      state.stop = async () => {
        stream.getTracks().forEach((track) => track.stop());
        await context.close();
        URL.revokeObjectURL(code);
      };
      pump(own, context.sampleRate);
    } catch (error) {
      state.running = false;
      state.problem = error.message;
    }
    redraw(own);
  };

  const pump = async (own, rate) => {
    const { state } = own;
    const most = Math.floor(4 * rate);
    const tell = (told) => {
      told.events.forEach((event) => hear(state, event));
      state.lag = told.lag;
      redraw(own);
    };
    try {
      while (state.running || state.waiting.length) {
        if (!state.waiting.length) {
          await new Promise((ready) => setTimeout(ready, 60));
          continue;
        }
        const parts = [];
        let length = 0;
        while (state.waiting.length && length + state.waiting[0].length <= most) { parts.push(state.waiting.shift()); length += parts[parts.length - 1].length; }
        const samples = new Int16Array(length);
        let at = 0;
        parts.forEach((part) => part.forEach((one) => { samples[at] = Math.max(-32768, Math.min(32767, Math.round(one * 32768))); at += 1; }));
        tell(await post({ do: 'go', rate }, samples));
      }
      const told = await post({ do: 'end', rate });
      state.files = told.files;
      tell(told);
    } catch (error) {
      state.problem = error.message;
      state.running = false;
      if (state.stop) await state.stop();
      redraw(own);
    }
  };

  const hear = (state, event) => {
    if (event.kind === 'final') {
      if (event.stable.trim()) state.finals.push(event);
      state.partial = null;
    } else if (event.kind === 'partial') state.partial = event;
    else state.behind = event.kind === 'behind' ? event.lag : null;
    if (event.statistics) state.last = event;
    if (event.thumbnail) state.steps = [...state.steps, event].slice(-10);
  };

  const live = (own) => {
    const { value } = own.props;
    const { state } = own;
    const select = (key, choices) => make('select', { 'aria-label': say(key), disabled: state.running, onchange: (event) => { state[key] = event.target.value; } },
      ...choices.map((one) => make('option', { value: one, text: one, selected: one === state[key] })));
    const button = make('button', { type: 'button', class: `vx-record${state.running ? ' on' : ''}`, text: say(state.running ? 'live.end' : 'live.begin'), onclick: async () => {
      if (!state.running) {
        await listen(own, { model: state.model || value.models[0], language: state.language || value.languages[0] });
      } else {
        state.running = false;
        if (state.stop) await state.stop();
        redraw(own);
      }
    } });
    const line = (event) => make('p', { class: 'vx-final' }, make('small', { text: `${number(event.start, 1)} s ` }), make('span', { text: event.stable }),
      make('small', { text: ` ${event.tags.filter(([kind]) => kind !== 'textnorm').map(([, label]) => label).join(' · ')}` }));
    const { partial, last } = state;
    return [make('p', { class: 'vx-sub', text: say('live.hint') }),
      make('p', { class: 'vx-links' }, button, select('model', value.models), select('language', value.languages),
        state.running ? make('span', { role: 'status', text: `${say('listening')} ${say('live.lag')} ${number(state.lag || 0, 1)} s` }) : null),
      state.problem && problem(state.problem), state.behind && make('p', { class: 'vx-problem', text: say('live.behind', { lag: number(state.behind, 1) }) }),
      make('div', { class: 'vx-lines', role: 'log', 'aria-live': 'polite' }, ...(state.finals || []).map(line),
        partial && make('p', { class: 'vx-partial' }, make('span', { text: partial.stable }), make('i', { text: partial.unstable }))),
      last && last.statistics ? make('div', {}, make('h3', { text: say('live.statistics') }), make('dl', { class: 'vx-stats' },
        ...Object.entries(last.statistics).map(([name, one]) => make('div', {}, make('dt', { text: name }), make('dd', { text: number(one, 3) }))))) : null,
      state.steps && state.steps.length ? make('div', {}, make('h3', { text: say('live.thumbnails') }), make('div', { class: 'vx-thumbs' }, ...state.steps.map(thumb))) : null,
    links(state.files)];
  };

  const thumb = (event) => {
    const { thumbnail } = event, values = unpacked(thumbnail), [rows, columns] = thumbnail.shape;
    const image = new ImageData(columns, rows);
    values.forEach((value, index) => image.data.set([...WARM, Math.round(255 * (Math.max(value, 0) / 32767) ** 0.8)], 4 * index));
    const canvas = bitmap(image);
    canvas.title = `${number(event.start, 1)}–${number(event.end, 1)} s: ${(event.words || []).join(' ')}`;
    return canvas;
  };

  // --- Panels -------------------------------------------------------------------------------------------------------------------

  const title = () => [make('h1', {}, 'Voxray ', make('small', { text: say('slogan') }))];
  const hint = (own) => (own.props.value ? [make('p', { class: 'vx-sub', text: say(own.props.value.key) })] : []);
  const files = (own) => (own.props.value ? [links(own.props.value)] : []);
  const DRAWN = { title, hint, files, intake, second: intake, look, decision, heads, bars, sounds: soundsOf, why, compare, live };

  /** Draws a panel anew, and puts the keyboard back where it was. */
  const redraw = (own) => {
    const root = own.element.querySelector('.vx');
    if (!root) return;
    own.root = root;
    const { activeElement } = document;
    const place = root.contains(activeElement) ? [...root.querySelectorAll('button, select, input, audio')].indexOf(activeElement) : -1;
    own.later = null;
    root.replaceChildren(...DRAWN[own.name](own).filter((child) => child));
    if (own.later) requestAnimationFrame(() => own.later && own.later());
    if (place >= 0) root.querySelectorAll('button, select, input, audio')[place]?.focus({ preventScroll: true });
  };

  window.voxray = {
    panel(name, element, props, trigger, watch) {
      const own = { name, element, props, trigger, state: {} };
      listeners.add(own);
      watch(['value', 'overlay'], () => {
        if (name === 'look' && own.props.value && own.state.sound !== own.props.value.sound) own.state.target = '';
        redraw(own);
      });
      if (name === 'look') new ResizeObserver(() => own.later && own.later()).observe(element);
      redraw(own);
    },
    speak(wanted) {
      tongue = window.voxrayWords[wanted] ? wanted : 'en';
      document.documentElement.lang = tongue === 'zh' ? 'zh-Hans' : 'en';
      listeners.forEach(redraw);
    },
  };
  document.addEventListener('DOMContentLoaded', () => new MutationObserver(() => listeners.forEach((own) => own.later && own.later()))
    .observe(document.body, { attributes: true, attributeFilter: ['class'] }));
})();
