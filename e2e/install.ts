import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { packPackages } from "../packages/build.ts";

const run = promisify(execFile);
const WRITTEN = /npm install((?: \.\.\/quota\/packages\/(?:core|nextjs)\.tgz)+)/;

/**
 * Installs the packages in a folder by the command in a page's text, where `../quota` is replaced by
 * the folder of the packed packages. No network is used. Other packages have to be put there
 * afterwards.
 */
export async function installAsWritten(text: string, folder: string): Promise<void> {
  const files = WRITTEN.exec(text)?.[1]?.trim().split(" ");
  if (files === undefined) throw new Error(`No command that installs the packages: ${text}`);
  const quota = await mkdtemp(path.join(tmpdir(), "quota-packed-"));
  try {
    packPackages(path.join(quota, "packages"));
    const manifest = path.join(folder, "package.json");
    // Without a package.json, npm would use one of a parent folder.
    if (!existsSync(manifest)) await writeFile(manifest, JSON.stringify({ name: "reader", private: true }));
    const options = ["--offline", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"];
    await run("npm", ["install", ...options, ...files.map((file) => path.join(quota, file.replace("../quota/", "")))], { cwd: folder });
  } finally {
    await rm(quota, { recursive: true, force: true });
  }
}
