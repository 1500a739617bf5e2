// Lets whole folders be dropped on the box for images: browsers hand a folder over as one entry, not as its files.
document.addEventListener("drop", async (event) => {
  const box = event.target.closest?.("#mc-images");
  const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!box || !entries.some((entry) => entry.isDirectory)) return;
  event.preventDefault();
  event.stopPropagation();
  const files = new DataTransfer();
  const add = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((found, failed) => entry.file(found, failed));
      if (file.type.startsWith("image/")) files.items.add(file);
      return;
    }
    const reader = entry.createReader();
    for (let some; (some = await new Promise((found, failed) => reader.readEntries(found, failed))).length; )
      for (const inner of some) await add(inner);
  };
  for (const entry of entries) await add(entry);
  const input = box.querySelector("input[type=file]");
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}, true);
