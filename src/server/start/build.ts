import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
const stamp = path.join(root, ".next/quota-build");

/** Builds the pages when there is no build or its sources have changed since. Returns whether it built. */
export async function ensureBuild(announce: () => void): Promise<boolean> {
  const fingerprint = fingerprintOf(["src", "next.config.js", "postcss.config.mjs", "package-lock.json"]);
  if (existsSync(path.join(root, ".next/BUILD_ID")) && existsSync(stamp) && readFileSync(stamp, "utf8") === fingerprint) return false;
  announce();
  await run([path.join(root, "node_modules/next/dist/bin/next"), "build"]);
  writeFileSync(stamp, fingerprint);
  return true;
}

function fingerprintOf(entries: readonly string[]): string {
  const hash = createHash("sha256");
  for (const entry of entries) {
    const full = path.join(root, entry);
    if (!existsSync(full)) continue;
    const files =
      path.extname(entry) === ""
        ? readdirSync(full, { recursive: true, withFileTypes: true })
            .filter((file) => file.isFile())
            .map((file) => path.join(file.parentPath, file.name))
        : [full];
    for (const file of files.sort()) {
      if (file.includes(`${path.sep}generated${path.sep}`) || file.includes(`${path.sep}testing${path.sep}`) || /\.test\.tsx?$/.test(file))
        continue;
      hash.update(path.relative(root, file)).update(readFileSync(file));
    }
  }
  return hash.digest("hex");
}

function run(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1" },
    });
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`next build ended with ${code}`))));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await ensureBuild(() => console.log("Building the pages …"));
}
