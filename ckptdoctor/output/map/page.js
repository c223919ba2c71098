/* The map. Data is shown as text only (textContent): it comes out of packages and may hold markup. */

/** The page's data, which is compressed. */
async function unpacked() {
  const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Rows out of columns that hold each distinct value once. */
function rowsOf(columns) {
  const fields = Object.entries(columns);
  if (!fields.length) return [];
  return fields[0][1].rows.map((_, row) => Object.fromEntries(fields.map(([name, column]) => [name, column.values[column.rows[row]]])));
}

/** An element with a class and children; strings become text. */
function make(tag, look, ...children) {
  const element = document.createElement(tag);
  if (look) element.className = look;
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

function code(text) {
  return text ? make("code", "", text) : "";
}

/** A sentence, with what stands between backticks as code. */
function spans(text) {
  return text.split(/`([^`]+)`/).map((part, place) => (place % 2 ? code(part) : part));
}

let commands = 0;

/** A command with a button that copies it, as the frame's script knows it. */
function copyable(text) {
  const place = make("pre", "wrapped", code(text));
  place.id = `command-${(commands += 1)}`;
  const button = make("button", "copy", "Copy");
  button.type = "button";
  button.dataset.copies = place.id;
  button.dataset.what = "command";
  button.setAttribute("aria-label", `Copy: ${text}`);
  return make("div", "copyable", place, button);
}

/** What works instead: a sentence and a command each. How it is known stands out less than what is. */
function fixList(fixes) {
  return make("ul", "fixes", ...fixes.map(([sentence, command]) => {
    const [, what, how, rest] = sentence.match(/^(.*?); (.*?\.)(?: (.*))?$/) || [null, sentence, "", ""];
    const parts = how ? [make("b", "", what), "; ", make("small", "", how), rest ? ` ${rest}` : ""] : spans(sentence);
    return make("li", "", make("p", "", ...parts), copyable(command));
  }));
}

// -- the table --------------------------------------------------------------------------------------------------------

function showMap(data) {
  const runs = rowsOf(data.runs);
  const grid = document.getElementById("grid");
  const frame = document.getElementById("frame");
  const details = document.getElementById("details");
  const every = document.getElementById("every");
  const MARKS = { ok: "✓", fail: "✕", "not judged": "–", error: "?" };
  const LABELS = { ok: "✓ ok", fail: "✕ FAIL", "not judged": "– not judged", error: "? no verdict" };
  const WORDS = { ok: "works", fail: "FAILS", "not judged": "not judged", error: "cannot be diagnosed" };
  const RUNS_SHOWN = 30;
  const LINES_SHOWN = 3;
  let sheet = data.sheets[0];
  let view = null;
  let chosen = null;
  let shown = null;

  function kindOf(number) {
    if (number < 0) return null;
    const [verdict, rules, warnings, measured, total, runs, required, [outside, unmet], what, fixes, fix] = data.kinds[number];
    return { verdict, rules, warnings, measured, total, runs, required, outside, unmet, what: what.map((one) => data.words[one]), fixes, fix: data.words[fix] };
  }

  function plural(count, noun) {
    return `${count} ${noun}${count === 1 ? "" : "s"}`;
  }

  function known(kind) {
    if (kind.measured === kind.total) return kind.total === 1 ? "measured" : `all ${kind.total} measured`;
    if (kind.measured === 0) return kind.total === 1 ? "inferred" : `all ${kind.total} inferred`;
    return `${kind.measured} of ${kind.total} measured, the others inferred`;
  }

  function look(kind) {
    if (kind === null) return "none";
    const how = kind.measured === kind.total ? "measured" : kind.measured === 0 ? "inferred" : "partly";
    return `${kind.verdict.replace(" ", "-")} ${how}${kind.outside ? " unmet" : ""}`;
  }

  function outsideOf(kind) {
    if (!kind.outside) return "";
    return kind.total === 1 ? "requirements forbid it" : `requirements forbid ${kind.outside}/${kind.total}`;
  }

  function rulesOf(kind) {
    if (kind.verdict === "ok") return kind.warnings.length ? `warns ${kind.warnings.join(", ")}` : "";
    return kind.rules.join(", ");
  }

  // -- the grid ---------------------------------------------------------------------------------------------------

  function draw() {
    view = every.checked ? sheet.single : sheet.joined;
    chosen = null;
    const head = make("tr", "", header(sheet.package, "col"), ...view.columns.map((name) => header(name, "col")));
    const rows = view.rows.map((row) => make("tr", "", header(row.label, "row"), ...row.cells.map(cell)));
    grid.className = every.checked ? "dense" : "";
    grid.replaceChildren(make("thead", "", head), make("tbody", "", ...rows));
    grid.setAttribute("aria-label", `Verdicts${sheet.title ? `, model ${sheet.title}` : ""}`);
    const first = grid.querySelector("td");
    if (first) first.tabIndex = 0;
    show(null);
  }

  function header(text, scope) {
    const element = make("th", "", make("span", "", text));
    element.scope = scope;
    return element;
  }

  function cell(number) {
    const kind = kindOf(number);
    const element = make("td", look(kind));
    element.tabIndex = -1;
    element.setAttribute("aria-selected", "false");
    element.setAttribute("aria-label", kind === null ? "not in the map" : [WORDS[kind.verdict], rulesOf(kind), ...kind.what, kind.fix, known(kind), outsideOf(kind)].filter(Boolean).join(", "));
    if (kind === null) return element;
    element.style.setProperty("--share", `${(100 * kind.measured) / kind.total}%`);
    if (every.checked) {
      element.append(MARKS[kind.verdict]);
    } else {
      element.append(make("b", "", LABELS[kind.verdict]), kind.verdict === "error" ? "" : make("span", "", rulesOf(kind)));
      element.append(...kind.what.map((text) => make("span", "", ...spans(text))), make("span", "", kind.fix));
      element.append(make("span", "", `${kind.measured}/${kind.total} measured`), make("span", "", outsideOf(kind)));
    }
    return element;
  }

  function placeOf(element) {
    return { row: element.parentElement.rowIndex - 1, column: element.cellIndex - 1 };
  }

  function at(row, column) {
    return grid.tBodies[0].rows[row].cells[column + 1];
  }

  function choose(element) {
    if (chosen !== null) {
      chosen.tabIndex = -1;
      chosen.setAttribute("aria-selected", "false");
    } else {
      grid.querySelector('td[tabindex="0"]').tabIndex = -1;
    }
    chosen = element;
    chosen.tabIndex = 0;
    chosen.setAttribute("aria-selected", "true");
    show(chosen);
  }

  function moved(event, { row, column }) {
    const last = { row: view.rows.length - 1, column: view.columns.length - 1 };
    switch (event.key) {
      case "ArrowUp": return { row: Math.max(0, row - 1), column };
      case "ArrowDown": return { row: Math.min(last.row, row + 1), column };
      case "ArrowLeft": return { row, column: Math.max(0, column - 1) };
      case "ArrowRight": return { row, column: Math.min(last.column, column + 1) };
      case "Home": return { row: event.ctrlKey ? 0 : row, column: 0 };
      case "End": return { row: event.ctrlKey ? last.row : row, column: last.column };
      default: return null;
    }
  }

  /** Brings a cell out from under the headers that stick to the frame's edges. */
  function reveal(element) {
    const top = grid.tHead.offsetHeight;
    const left = element.parentElement.cells[0].offsetWidth;
    const box = element.getBoundingClientRect();
    const seen = frame.getBoundingClientRect();
    if (box.left < seen.left + left) frame.scrollLeft -= seen.left + left - box.left;
    if (box.right > seen.right) frame.scrollLeft += Math.min(box.right - seen.right + 4, box.left - seen.left - left);
    if (box.top < seen.top + top) frame.scrollTop -= seen.top + top - box.top;
  }

  // -- the evidence -----------------------------------------------------------------------------------------------

  function show(element) {
    shown = element;
    if (element === null) {
      details.replaceChildren(make("p", "hint", "Choose a cell, with the mouse or the arrow keys, to see the evidence behind it. Enter jumps here, Escape jumps back."));
      return;
    }
    const { row, column } = placeOf(element);
    const kind = kindOf(view.rows[row].cells[column]);
    const names = [view.rows[row].label, sheet.package ? `${sheet.package} ${view.columns[column]}` : ""];
    const title = make("h3", "", names.filter(Boolean).join(" with "));
    if (kind === null) {
      details.replaceChildren(title, make("p", "", "This combination is not in the map: nothing is said of it."));
      return;
    }
    const badge = make("span", `badge ${kind.verdict.replace(" ", "-")} measured`, `${MARKS[kind.verdict]} ${WORDS[kind.verdict]}`);
    details.replaceChildren(title, make("p", "", badge, " ", rulesOf(kind)), make("p", "", sentence(kind)), ...brokenOf(kind), ...unmetOf(kind), ...evidence(kind), requiredOf(kind));
  }

  /** What fails, and how to fix it. */
  function brokenOf(kind) {
    if (kind.verdict !== "fail") return [];
    const told = kind.fixes.map(([sentence, command, count]) => [kind.total === 1 ? data.words[sentence] : `${data.words[sentence]} works instead in ${count === kind.total ? `all ${count}` : `${count} of ${kind.total}`}.`, data.words[command]]);
    const fix = told.length ? fixList(told) : make("p", "", "No release that works instead is known. ", code("ckptdoctor fix"), " searches for a patch.");
    return [make("h4", "", "What fails"), ...kind.what.map((text) => make("p", "", ...spans(text), ".")), make("h4", "", "How to fix it"), fix, kind.total > 1 && told.length ? make("p", "hint", "Choose a pair above: its answer says whether the releases' own requirements admit the fix.") : ""];
  }

  /** What the releases of a cell require and it does not meet; a long list is folded. */
  function unmetOf(kind) {
    const lines = kind.unmet.map(([number, count]) => make("p", "not-met", `${data.words[number]}; ${meets(count, kind.total)}`));
    if (lines.length <= LINES_SHOWN) return lines;
    const summary = `${kind.outside} of ${kind.total} combinations do not meet what their releases declare to require`;
    return [make("details", "", make("summary", "", summary), ...lines)];
  }

  function meets(count, total) {
    if (total === 1) return "this combination does not meet it.";
    if (count === total) return `none of the ${total} combinations meets it.`;
    return `${count} of ${total} combinations ${count === 1 ? "does" : "do"} not meet it.`;
  }

  function requiredOf(kind) {
    if (!kind.required.length) return "";
    const lines = kind.required.map((number) => make("div", "", data.words[number]));
    if (kind.total === 1) return terms([["Declared requirements", lines]]);
    return make("details", "", make("summary", "", "Declared requirements"), ...lines);
  }

  function sentence(kind) {
    const run = runs[kind.runs[0]];
    if (kind.total > 1) return `${plural(kind.total, "combination")}: ${known(kind)}.`;
    const day = run.date ? ` on ${run.date}` : "";
    if (kind.measured) return `Measured${day}.`;
    return `Inferred from the run of ${stackOf(run)}${day}: the code that matters is the same.`;
  }

  function stackOf(run) {
    return Object.entries(run.stack).map(([name, version]) => `${name} ${version}`).join(", ");
  }

  function evidence(kind) {
    if (kind.runs.length === 1) return [runOf(runs[kind.runs[0]])];
    const folds = kind.runs.slice(0, RUNS_SHOWN).map((number, place) => {
      const run = runs[number];
      const fold = make("details", "", make("summary", "", [stackOf(run), run.model].filter(Boolean).join(", ")), runOf(run));
      fold.open = place === 0;
      return fold;
    });
    const more = kind.runs.length - folds.length;
    return [make("h4", "", `Rests on ${plural(kind.runs.length, "run")}`), ...folds, more ? make("p", "hint", `and ${more} more`) : ""];
  }

  function runOf(run) {
    const faults = (run.faults || []).map((fault, place) => faultOf(fault, run.labels[place]));
    const parts = [make("p", "", ...spans(run.summary)), ...faults, functionsOf(run.functions || [])];
    const packages = Object.entries(run.packages || {}).map(([name, version]) => `${name} ${version}`).join(", ");
    parts.push(
      terms([
        ["Run", [stackOf(run)]],
        ["Model", [run.model]],
        ["Date", [run.date || ""]],
        ["Packages present", [packages]],
      ]),
    );
    return make("div", "", ...parts);
  }

  function faultOf(fault, label) {
    const rule = make("span", `rule ${fault.severity}`, `${fault.rule} ${fault.severity}`);
    return make(
      "div",
      "",
      make("h4", "", rule, " ", ...spans(fault.title)),
      terms([
        ["Error", [code(fault.error)]],
        [label, place(fault.culprit)],
        ["Passed by", place(fault.passed_by)],
        ["Callable", [code(fault.callable)]],
        ["Checkpoint functions", [fault.functions.join(", ")]],
      ]),
    );
  }

  function place(line) {
    if (!line) return [];
    const owner = [line.package, line.version].filter(Boolean).join(" ");
    return [[owner, `${line.file}:${line.line}`].filter(Boolean).join(", "), code(line.code)];
  }

  function terms(entries) {
    const list = make("dl", "");
    for (const [term, values] of entries) {
      const filled = values.filter(Boolean);
      if (filled.length) list.append(make("dt", "", term), make("dd", "", ...filled.map((value) => make("div", "", value))));
    }
    return list;
  }

  function functionsOf(functions) {
    if (!functions.length) return "";
    const rows = functions.map((judged) => {
      const verdict = [MARKS[judged.verdict], judged.verdict, ...(judged.rules || [])].join(" ");
      const half = judged.forward_only ? "backward simulated on CPU" : "";
      const name = make("td", "", judged.function, ...[judged.convention, half, judged.why].filter(Boolean).map((text) => make("small", "line", text)));
      return make("tr", "", name, make("td", "", judged.engine || "none"), make("td", "", verdict));
    });
    const head = make("tr", "", ...["function", "engine", "verdict"].map((text) => header(text, "col")));
    return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
  }

  // -- wiring -----------------------------------------------------------------------------------------------------

  function cellUnder(event) {
    return event.target instanceof Element ? event.target.closest("#grid td") : null;
  }

  /** Where the evidence stands below the grid, brings its first lines into view. */
  function toDetails() {
    const below = details.getBoundingClientRect().top >= frame.getBoundingClientRect().bottom;
    if (below) details.firstElementChild.scrollIntoView({ block: "nearest" });
  }

  grid.addEventListener("click", (event) => {
    const element = cellUnder(event);
    if (!element) return;
    element.focus({ preventScroll: true });
    choose(element);
    toDetails();
  });
  grid.addEventListener("focusin", (event) => {
    const element = cellUnder(event);
    if (element && element !== chosen) choose(element);
  });
  grid.addEventListener("pointermove", (event) => {
    // A page that scrolls under a resting mouse must not change what is shown.
    const still = event.movementX === 0 && event.movementY === 0;
    const element = cellUnder(event) || chosen;
    if (event.pointerType === "mouse" && !still && element !== shown) show(element);
  });
  grid.addEventListener("pointerleave", () => show(chosen));
  grid.addEventListener("keydown", (event) => {
    const element = cellUnder(event);
    if (!element) return;
    const to = moved(event, placeOf(element));
    if (to !== null) {
      event.preventDefault();
      const next = at(to.row, to.column);
      next.focus();
      reveal(next);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      details.focus({ preventScroll: true });
      toDetails();
    }
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) chosen.focus();
  });
  every.addEventListener("change", draw);

  const choices = document.getElementById("sheets");
  data.sheets.forEach((one, number) => {
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "sheet";
    input.checked = number === 0;
    input.addEventListener("change", () => {
      sheet = one;
      draw();
    });
    choices.append(data.sheets.length > 1 ? make("label", "", input, one.title) : make("span", "", one.title));
  });
  choices.hidden = !data.sheets.some((one) => one.title);

  document.getElementById("map").hidden = false;
  draw();
}

// -- the question -----------------------------------------------------------------------------------------------------

function showQuestion(data, isShipped) {
  const LIBRARY = "transformers";
  const BADGES = { works: ["ok", "✓ WORKS"], fails: ["fail", "✕ FAILS"], "some work": ["error", "◐ SOME WORK"], "not known": ["error", "? NOT KNOWN"], "not measured": ["error", "? NOT MEASURED"] };
  const PLAIN = /^[\w.+-]+$/;
  const form = document.getElementById("question");
  const box = document.getElementById("answer");
  const torch = data.torch;
  const trainers = Object.keys(data.trainers);
  const rows = [""];
  for (const name of trainers) for (const release of ["", ...data.trainers[name]]) rows.push(`${name} ${release}`.trim());
  const others = torch ? Object.keys(torch.families).filter((one) => !data.models.includes(one)) : [];
  const extras = Object.keys(data.extras);

  const selectors = {};
  addSelector("transformers", "Your transformers", "any release", [["", [...data.library].reverse()]]);
  for (const name of extras) addSelector(name, `Your ${name}`, null, [["", [...data.extras[name]].reverse()]]);
  if (trainers.length) {
    addSelector("trainer", "Your trainer", torch ? "any, or none" : "any", [["", trainers]]);
    addSelector("release", "Its release", "any release", []);
  }
  const groups = trainers.length ? [["Measured with trainers", data.models], ["Measured without a trainer", others]] : [["", others]];
  // With one family there is nothing to choose.
  if (trainers.length ? data.models.length + others.length > 1 : others.length) {
    const all = trainers.length ? `all measured: ${data.models.join(", ")}` : "choose one";
    addSelector("model", "Your model family", others.length === 1 && !trainers.length ? null : all, groups);
  }

  function addSelector(name, text, any, groups) {
    const select = make("select", "");
    select.name = name;
    fill(select, any, groups);
    form.append(make("label", "", text, select));
    selectors[name] = select;
  }

  function fill(select, any, groups) {
    const options = (names) => names.map((one) => new Option(one, one));
    const parts = groups.filter(([, names]) => names.length).flatMap(([title, names]) => {
      if (!title) return options(names);
      const group = document.createElement("optgroup");
      group.label = title;
      group.append(...options(names));
      return [group];
    });
    select.replaceChildren(...(any === null ? [] : [new Option(any, "")]), ...parts);
  }

  function releasesOf(trainer) {
    fill(selectors.release, trainer ? "any release" : "choose a trainer first", trainer ? [["", [...data.trainers[trainer]].reverse()]] : []);
    selectors.release.disabled = !trainer;
  }

  // -- the address ------------------------------------------------------------------------------------------------

  /** What the address asks, and sentences on what of it this page does not know. */
  function fromAddress() {
    const unknown = [];
    const asked = {};
    const text = location.hash.slice(1);
    for (const [name, value] of text.includes("=") ? new URLSearchParams(text) : []) {
      if (!(name in selectors)) unknown.push(`This page does not know what “${name}” in its address means.`);
      else asked[name] = value;
    }
    return { asked, unknown };
  }

  function choose({ asked, unknown }) {
    for (const [name, select] of Object.entries(selectors)) {
      if (name === "release") releasesOf(selectors.trainer.value);
      const value = asked[name] || "";
      const known = [...select.options].some((one) => one.value === value);
      if (known) select.value = value;
      else select.selectedIndex = 0;
      if (!known && value) unknown.push(notThere(name, value, select));
    }
    return unknown;
  }

  function notThere(name, value, select) {
    if (name === "model") return `The model family ${value} was not measured.`;
    if (name === "trainer") return `${value} is not in this map; its trainers are ${trainers.join(", ")}.`;
    if (name === "release" && !selectors.trainer.value) return `The address names a release, ${value}, without a trainer that is in this map.`;
    const there = [...select.options].map((one) => one.value).filter(Boolean);
    const what = name === "release" ? selectors.trainer.value : name;
    return `${what} ${value} is not in this map, so nothing is known of it; measured were ${there.at(-1)} to ${there[0]}.`;
  }

  function toAddress() {
    const chosen = Object.entries(selectors).filter(([, select]) => select.value && !select.disabled);
    const text = chosen.map(([name, select]) => `${name}=${encodeURIComponent(select.value)}`).join("&");
    // Without an address there is nothing to go back to but the page as it was opened.
    if (location.hash.slice(1) !== text) location.hash = text;
    else answer([]);
  }

  // -- the answer -------------------------------------------------------------------------------------------------

  function chosen() {
    const value = (name) => (selectors[name] ? selectors[name].value : "");
    return { library: value("transformers"), trainer: value("trainer"), release: value("release"), family: value("model"), extra: extras.map(value) };
  }

  /** An answer in words: texts have marks where they name what is asked. */
  function read(number, { library, trainer, release, family }) {
    const marks = { "\u0001": `${LIBRARY} ${library}`, "\u0002": `${trainer} ${release}`, "\u0003": family };
    const text = (at) => data.texts[at].replace(/[\u0001-\u0003]/g, (mark) => marks[mark]);
    const [known, sentences, nearest] = data.answers[number];
    return { known, sentences: sentences.map(text), nearest: nearest.map(([sentence, command]) => [text(sentence), text(command)]), notes: [] };
  }

  function answerTo(asked) {
    const { library, trainer, release, family, extra } = asked;
    const ofTorch = torch && family && family in torch.families ? torch.families[family] : null;
    const at = torch ? torch.library.indexOf(library) : -1;
    if (!trainer && family && !data.models.includes(family)) return read(library && at < 0 ? torch.unmeasured : ofTorch[at + 1], asked);
    if (!trainers.length) return null;
    const found = data.tables.find(([key]) => key.every((one, place) => one === extra[place]));
    const place = family ? data.models.indexOf(family) + 1 || data.models.length + 1 : 0;
    const number = found ? found[1][place][rows.indexOf(`${trainer} ${release}`.trim())][data.library.indexOf(library) + 1] : -1;
    if (number < 0) return null;
    const told = read(number, asked);
    if (at >= 0 && !family && torch.remarks[at] >= 0) told.notes.push(data.texts[torch.remarks[at]]);
    if (at >= 0 && ofTorch && data.answers[ofTorch[at + 1]][0] === "fails") told.notes.push(read(ofTorch[at + 1], asked).sentences[0]);
    return told;
  }

  function title({ library, trainer, release, family, extra }) {
    const parts = [trainer && `${trainer} ${release || "of any release"}`, library && `${LIBRARY} ${library}`, ...extras.map((name, place) => `${name} ${extra[place]}`)];
    return [parts.filter(Boolean).join(" with "), family].filter(Boolean).join(", model ");
  }

  function answer(unknown) {
    const asked = chosen();
    const told = answerTo(asked);
    const parts = unknown.map((text) => make("p", "unknown", text));
    box.className = unknown.length ? "error" : "";
    if (told) {
      // What is known of other families is no verdict on this one.
      const isOfOthers = asked.trainer && asked.family && !data.models.includes(asked.family);
      const [look, words] = BADGES[isOfOthers ? "not measured" : told.known];
      box.className = unknown.length ? "error" : look;
      const [first, ...rest] = told.sentences;
      if (unknown.length) parts.push(make("p", "soft", "Of the rest of the question, this is known:"));
      const name = title(asked);
      if (!first.includes(name)) parts.push(make("p", "", make("b", "", name)));
      parts.push(make("p", "lead", make("span", `badge ${look}`, words), " ", ...spans(first)));
      if (rest.length) parts.push(make("ul", "", ...rest.map((text) => make("li", "", ...spans(text)))));
      if (told.nearest.length) parts.push(make("h3", "", told.known === "fails" ? "How to fix it: the nearest releases that work" : "Releases that work"), fixList(told.nearest));
      else if (told.known === "fails") parts.push(make("h3", "", "How to fix it"), make("p", "", "No other release that works with one of these is known."));
      if (told.known === "fails") parts.push(make("p", "", "In your environment, ", code("ckptdoctor fix"), " finds fixes, such as a patch that keeps these releases, and tries each before it offers it."));
      if (told.notes.length) parts.push(make("h3", "", "Also known"), make("ul", "", ...told.notes.map((text) => make("li", "", ...spans(text)))));
      parts.push(...again(asked));
    } else if (!unknown.length) {
      parts.push(make("p", "hint", trainers.length ? "Choose your transformers and your trainer. The answer is looked up in what was measured. The address of this page keeps your choice." : "Choose a model family. The answer is looked up in what was measured. The address of this page keeps your choice."));
    }
    box.replaceChildren(...parts);
  }

  /** How to ask the same in a terminal. */
  function again({ library, trainer, release, family }) {
    const names = [release ? `${trainer}==${release}` : trainer, library && `${LIBRARY}==${library}`].filter(Boolean);
    const all = [...names, family].filter(Boolean);
    if (!isShipped || !(library || release) || !all.every((one) => PLAIN.test(one.replace("==", "")))) return [];
    return [make("h3", "", "The same in a terminal, and for releases that came since"), copyable(`ckptdoctor known ${names.join(" ")}${family ? ` --model ${family}` : ""}`)];
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target === selectors.trainer) releasesOf(selectors.trainer.value);
    toAddress();
  });
  addEventListener("hashchange", () => {
    // A link to a place in the page asks nothing.
    if (!location.hash || location.hash.includes("=")) answer(choose(fromAddress()));
  });
  answer(choose(fromAddress()));
  document.getElementById("ask").hidden = false;
}

(async () => {
  const plain = document.getElementById("plain");
  plain.hidden = true;
  try {
    const data = await unpacked();
    if (data.choices) showQuestion(data.choices, data.is_shipped);
    if (data.sheets.length) showMap(data);
    else plain.hidden = false;
  } catch (error) {
    plain.hidden = false; // an old browser: the tables say it all
    throw error;
  }
})();
