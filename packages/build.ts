import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { generateClient } from "../prisma/generate.ts";

/**
 * Builds `@usequota/core` and `@usequota/nextjs` into their `dist` (JavaScript and types, one
 * file for each source file, so that bundlers can leave out unused ones), and the example with
 * them. `npm run build:packages` also packs each package into a file that any app can install.
 */

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, "..");
const example = path.join(root, "examples/nextjs-chat");
export const wireFile = path.join(here, "core/src/wire.ts");

/** Builds the packages when their sources have changed since the last build; returns whether it built. */
export async function ensurePackages(): Promise<boolean> {
  // The schemas are in files that import Prisma's client.
  generateClient();
  const { wireTypes } = await import("./wire-types.ts");
  const wire = wireTypes();
  if (!existsSync(wireFile) || readFileSync(wireFile, "utf8") !== wire) writeFileSync(wireFile, wire);
  // Links in the places where the compiler, Node and the example look for installed packages.
  link(path.join(here, "nextjs/node_modules/@usequota/core"), path.join(here, "core"));
  link(path.join(example, "node_modules/@usequota/core"), path.join(here, "core"));
  link(path.join(example, "node_modules/@usequota/nextjs"), path.join(here, "nextjs"));
  return whenChanged(path.join(here, "nextjs/dist/.built"), packageFingerprint(), () => {
    compile("core");
    compile("nextjs");
    cpSync(path.join(here, "nextjs/src/styles.css"), path.join(here, "nextjs/dist/styles.css"));
  });
}

/** Builds the example when it or the packages have changed since the last build; returns whether it built. */
export async function ensureExample(announce: () => void = () => {}): Promise<boolean> {
  await ensurePackages();
  const fingerprint =
    packageFingerprint() + fingerprintOf(["app", "lib", "proxy.ts", "next.config.js"].map((each) => path.join(example, each)));
  return whenChanged(path.join(example, ".next/.built"), fingerprint, () => {
    announce();
    const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(root, "node_modules/next/dist/bin/next"), "build"], {
      cwd: example,
      encoding: "utf8",
      env: { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1" },
    });
    if (status !== 0) throw new Error(`The example did not build:\n${stdout}\n${stderr}`);
  });
}

/** Packs the built packages into `core.tgz` and `nextjs.tgz` in a folder, as npm would publish them; returns their paths. */
export function packPackages(folder = here): { core: string; nextjs: string } {
  mkdirSync(folder, { recursive: true });
  return { core: pack("core", folder), nextjs: pack("nextjs", folder) };
}

function pack(name: string, folder: string): string {
  const { version } = JSON.parse(readFileSync(path.join(here, name, "package.json"), "utf8")) as { version: string };
  const { status, stdout, stderr } = spawnSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], {
    cwd: path.join(here, name),
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error(`@usequota/${name} was not packed:\n${stdout}\n${stderr}`);
  const packed = path.join(folder, `${name}.tgz`);
  renameSync(path.join(folder, `usequota-${name}-${version}.tgz`), packed);
  return packed;
}

function compile(name: string): void {
  const dist = path.join(here, name, "dist");
  rmSync(dist, { recursive: true, force: true });
  const tsc = path.join(root, "node_modules/typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [tsc, "-p", path.join(here, name)], { stdio: "inherit" });
  if (status !== 0) throw new Error(`@usequota/${name} did not compile.`);
  // The compiler leaves the extensions `.ts` and `.tsx` in declarations; packages have `.js` files.
  for (const file of readdirSync(dist).filter((each) => each.endsWith(".d.ts"))) {
    const text = readFileSync(path.join(dist, file), "utf8");
    writeFileSync(path.join(dist, file), text.replaceAll(/(from |import\()"(\.{1,2}\/[^"]+)\.tsx?"/g, '$1"$2.js"'));
  }
}

function packageFingerprint(): string {
  const entries = ["core", "nextjs"].flatMap((name) => ["src", "package.json", "tsconfig.json"].map((each) => path.join(here, name, each)));
  return fingerprintOf([...entries, fileURLToPath(import.meta.url), path.join(root, "package-lock.json")]);
}

function fingerprintOf(entries: string[]): string {
  const hash = createHash("sha256");
  for (const entry of entries) {
    const files = path.extname(entry) === "" ? filesUnder(entry) : [entry];
    for (const file of files) hash.update(path.relative(root, file)).update(readFileSync(file));
  }
  return hash.digest("hex");
}

function filesUnder(folder: string): string[] {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return found.map((each) => path.join(each.parentPath, each.name)).sort();
}

function whenChanged(stamp: string, fingerprint: string, build: () => void): boolean {
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === fingerprint) return false;
  build();
  writeFileSync(stamp, fingerprint);
  return true;
}

function link(from: string, to: string): void {
  if (existsSync(from)) return;
  mkdirSync(path.dirname(from), { recursive: true });
  rmSync(from, { force: true });
  symlinkSync(path.relative(path.dirname(from), to), from, "junction");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await ensurePackages();
  const packed = Object.values(packPackages()).map((file) => path.relative(process.cwd(), file));
  console.log(`Install ${packed.join(" and ")} in an app.`);
}
