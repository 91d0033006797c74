// Gradio takes Tab in a list for a letter that is searched for, and the list would stay open where it is left.
() => document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches("input[role=combobox]")) event.stopPropagation();
}, true)
