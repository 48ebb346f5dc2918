import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "./fixtures.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const run = promisify(execFile);
const bin = (file: string) => path.join(root, "node_modules", file);

/**
 * An app as `create-next-app` writes it, in a folder of this repository. Two lines are changed, so that
 * nothing is downloaded: the folder that the bundler may read, and the dependencies, which are found
 * in a parent folder.
 */
export async function appOfTemplate(): Promise<{ folder: string; remove(): Promise<void> }> {
  await mkdir(path.join(root, "test-results"), { recursive: true });
  const parent = await mkdtemp(path.join(root, "test-results/template-"));
  const chosen = ["--ts", "--app", "--empty", "--no-tailwind", "--no-eslint", "--no-src-dir", "--use-npm", "--yes"];
  await run(process.execPath, [bin("create-next-app/dist/index.js"), "app", ...chosen, "--skip-install", "--disable-git"], {
    cwd: parent,
    // A HOME of its own, because create-next-app stores earlier choices.
    env: { PATH: process.env.PATH, HOME: parent, CI: "1" } as unknown as NodeJS.ProcessEnv,
  });
  const folder = path.join(parent, "app");
  await changeConfig(folder, { turbopack: { root } });
  const { dependencies: _, devDependencies: __, ...manifest } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify(manifest));
  return { folder, remove: () => rm(parent, { recursive: true, force: true }) };
}

/** Adds settings to the config that the template wrote. */
export async function changeConfig(folder: string, settings: Record<string, unknown>): Promise<void> {
  const file = path.join(folder, "next.config.ts");
  const before = await readFile(file, "utf8");
  const after = before.replace("/* config options here */", (marker) => `${marker}\n  ...${JSON.stringify(settings)},`);
  expect(after).not.toBe(before);
  await writeFile(file, after);
}

export async function writeFiles(folder: string, files: Iterable<readonly [string, string]>): Promise<void> {
  for (const [name, text] of files) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
}

/** Builds the app and serves it; `output` returns what both printed. */
export async function buildAndServe(
  folder: string,
  port: number,
  settings: Record<string, string> = {},
): Promise<{ output(): string; stop(): Promise<void> }> {
  const env = { PATH: process.env.PATH, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1", ...settings } as unknown as NodeJS.ProcessEnv;
  const built = await run(process.execPath, [bin("next/dist/bin/next"), "build"], { cwd: folder, env }).catch(
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`The app did not build:\n${error.stdout}\n${error.stderr}`);
    },
  );
  let output = built.stdout + built.stderr;
  const child: ChildProcess = spawn(process.execPath, [bin("next/dist/bin/next"), "start", "--port", String(port)], {
    cwd: folder,
    env,
    stdio: "pipe",
  });
  const collect = (text: Buffer) => {
    output += text;
  };
  child.stdout?.on("data", collect);
  child.stderr?.on("data", collect);
  const stop = async () => {
    child.kill("SIGTERM");
    await once(child, "close");
  };
  try {
    await expect
      .poll(
        () => {
          if (child.exitCode !== null) throw new Error(`The app ended:\n${output}`);
          return fetch(`http://localhost:${port}/`).then(
            () => true,
            () => false,
          );
        },
        { timeout: 60_000 },
      )
      .toBe(true);
  } catch (error) {
    if (child.exitCode === null) await stop();
    throw error;
  }
  return { output: () => output, stop };
}
