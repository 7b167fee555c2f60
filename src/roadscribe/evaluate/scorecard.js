// The gallery's filter: shows only the drives on which one parameter is wrong, and how many there are.
const filter = document.getElementById("filter");
const count = document.getElementById("filter-count");
const drives = [...document.querySelectorAll(".drive")];
filter.parentElement.hidden = false;
filter.addEventListener("change", () => {
  const name = filter.value;
  let shown = 0;
  for (const drive of drives) {
    drive.hidden = name !== "" && !drive.dataset.wrong.split(" ").includes(name);
    if (!drive.hidden) shown += 1;
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = !group.querySelector(".drive:not([hidden])");
  }
  for (const more of document.querySelectorAll(".more")) more.open = name !== "";
  count.textContent = name ? `${shown} of ${drives.length}` : "";
});

// A frame seen large: click or press Enter on it; click or press Escape to go back.
const large = document.getElementById("large");
const show = (image) => {
  large.querySelector("img").src = image.src;
  large.querySelector("p").textContent =
    `${image.closest(".drive").querySelector("h4").textContent}, ${image.alt}`;
  large.showModal();
};
for (const strip of document.querySelectorAll(".strip")) {
  strip.scrollLeft = strip.scrollWidth; // the report speaks of the last frame
  strip.addEventListener("click", (event) => event.target.matches("img") && show(event.target));
  strip.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("img")) show(event.target);
  });
}
large.addEventListener("click", () => large.close());
