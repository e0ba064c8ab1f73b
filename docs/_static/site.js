// The arrow keys scroll only what has the focus: give it to each box that is wider than its frame.
const boxes = new ResizeObserver(entries => {
    for (const {target} of entries) {
        if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
        else target.removeAttribute("tabindex");
    }
});
document.querySelectorAll("pre, .table-wrapper, .math-wrapper").forEach(box => boxes.observe(box));

// A browser does not let a page from a file read other files, which have the excerpts of what is found.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
