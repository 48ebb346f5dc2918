import { lockFolder } from "../server/platform/folder-lock.ts";

/** A process that takes the folder's lock, prints "owned", and keeps the lock until it is killed. `files`: without the kernel's lock. */
const [folder = "", kind] = process.argv.slice(2);
try {
  await lockFolder(folder, { withKernel: kind !== "files" });
  console.log("owned");
  setInterval(() => {}, 60_000);
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}
