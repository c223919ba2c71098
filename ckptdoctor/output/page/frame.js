"use strict";

/* Copies what a button names. Without the clipboard's own interface, the text is selected and copied as by hand. */
(() => {
  const said = document.getElementById("said");

  const byHand = (place) => {
    const range = document.createRange();
    range.selectNodeContents(place);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const copied = document.execCommand("copy");
    if (copied) selection.removeAllRanges();
    return copied;
  };

  const copy = async (place) => {
    try {
      await navigator.clipboard.writeText(place.textContent);
      return true;
    } catch {
      return byHand(place);
    }
  };

  for (const button of document.querySelectorAll("button.copy")) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element && event.target.closest("button.copy");
    if (!button) return;
    const copied = await copy(document.getElementById(button.dataset.copies));
    button.textContent = copied ? "Copied" : "Selected";
    said.textContent = copied ? `The ${button.dataset.what} is copied.` : `The ${button.dataset.what} is selected: copy it with the keyboard.`;
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 3000);
  });

  /* What is folded is read on paper too, but for the evidence behind every probe. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details[data-print]:not([open])")];
    for (const fold of opened) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of opened) fold.open = false;
  });

  /* A link to something in a fold opens the fold. */
  const reveal = () => {
    const place = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!place) return;
    for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    place.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
