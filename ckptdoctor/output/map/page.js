"use strict";

// Data is shown as text only (textContent): it comes out of packages and may hold markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
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

  /** An element with a class and children; strings become text. */
  function make(tag, look, ...children) {
    const element = document.createElement(tag);
    if (look) element.className = look;
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  function kindOf(number) {
    if (number < 0) return null;
    const [verdict, rules, warnings, measured, total, runs, required, [outside, unmet]] = data.kinds[number];
    return { verdict, rules, warnings, measured, total, runs, required, outside, unmet };
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
    return kind.total === 1 ? "not as required" : `${kind.outside}/${kind.total} not as required`;
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
    element.setAttribute("aria-label", kind === null ? "not in the map" : [WORDS[kind.verdict], rulesOf(kind), known(kind), outsideOf(kind)].filter(Boolean).join(", "));
    if (kind === null) return element;
    element.style.setProperty("--share", `${(100 * kind.measured) / kind.total}%`);
    if (every.checked) {
      element.append(MARKS[kind.verdict]);
    } else {
      element.append(make("b", "", LABELS[kind.verdict]), kind.verdict === "error" ? "" : make("span", "", rulesOf(kind)));
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
      details.replaceChildren(make("p", "hint", "Choose a cell, with the mouse or the arrow keys, for the evidence behind it. Enter leads here, Escape back."));
      return;
    }
    const { row, column } = placeOf(element);
    const kind = kindOf(view.rows[row].cells[column]);
    const names = [view.rows[row].label, sheet.package ? `${sheet.package} ${view.columns[column]}` : ""];
    const title = make("h2", "", names.filter(Boolean).join(" with "));
    if (kind === null) {
      details.replaceChildren(title, make("p", "", "This combination is not in the map: nothing is said of it."));
      return;
    }
    const badge = make("span", `badge ${kind.verdict.replace(" ", "-")} measured`, `${MARKS[kind.verdict]} ${WORDS[kind.verdict]}`);
    details.replaceChildren(title, make("p", "", badge, rulesOf(kind)), make("p", "", sentence(kind)), ...unmetOf(kind), ...evidence(kind), requiredOf(kind));
  }

  /** What the releases of a cell require and it does not meet; a long list is folded. */
  function unmetOf(kind) {
    const lines = kind.unmet.map(([number, count]) => make("p", "not-met", `${data.requirements[number]}; ${meets(count, kind.total)}`));
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
    const lines = kind.required.map((number) => make("div", "", data.requirements[number]));
    if (kind.total === 1) return terms([["Declared requirements", lines]]);
    return make("details", "", make("summary", "", "Declared requirements"), ...lines);
  }

  function sentence(kind) {
    const run = data.runs[kind.runs[0]];
    if (kind.total > 1) return `${plural(kind.total, "combination")}: ${known(kind)}.`;
    const day = run.date ? ` on ${run.date}` : "";
    if (kind.measured) return `Measured${day}.`;
    return `Inferred from the run of ${stackOf(run)}${day}: the code that matters is the same.`;
  }

  function stackOf(run) {
    return Object.entries(run.stack).map(([name, version]) => `${name} ${version}`).join(", ");
  }

  function evidence(kind) {
    if (kind.runs.length === 1) return [runOf(data.runs[kind.runs[0]])];
    const folds = kind.runs.slice(0, RUNS_SHOWN).map((number, place) => {
      const run = data.runs[number];
      const fold = make("details", "", make("summary", "", [stackOf(run), run.model].filter(Boolean).join(", ")), runOf(run));
      fold.open = place === 0;
      return fold;
    });
    const more = kind.runs.length - folds.length;
    return [make("h3", "", `Rests on ${plural(kind.runs.length, "run")}`), ...folds, more ? make("p", "hint", `and ${more} more`) : ""];
  }

  function runOf(run) {
    const parts = [make("p", "", ...spans(run.summary)), ...(run.faults || []).map(faultOf), functionsOf(run.functions || [])];
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

  function faultOf(fault) {
    const rule = make("span", `rule ${fault.severity}`, `${fault.rule} ${fault.severity}`);
    return make(
      "div",
      "",
      make("h3", "", rule, " ", ...spans(fault.title)),
      terms([
        ["Error", [code(fault.error)]],
        [fault.label, place(fault.culprit)],
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

  function code(text) {
    return text ? make("code", "", text) : "";
  }

  /** A sentence, with what stands between backticks as code. */
  function spans(text) {
    return text.split(/`([^`]+)`/).map((part, place) => (place % 2 ? code(part) : part));
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

  if (sheet) {
    document.getElementById("map").hidden = false;
    draw();
  }
})();
