import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chromium, type LaunchOptions } from "@playwright/test";

/**
 * Launch options for the first of: PLAYWRIGHT_CHROMIUM_PATH, Playwright's Chromium, the system's.
 * Throws an error that says what to do when there is none.
 */
export function chromiumLaunchOptions(): LaunchOptions {
  return { executablePath: chromiumPath(), args: process.getuid?.() === 0 ? [...ROOT_FLAGS] : [] };
}

/**
 * The path of that Chromium; tries to install Playwright's, or as root the system's, when there is
 * none. Throws an error that says what to do when neither works.
 */
export async function ensureChromium(): Promise<string> {
  const attempts = [
    [process.execPath, "node_modules/@playwright/test/cli.js", "install", "chromium"],
    ...(process.getuid?.() === 0 ? [["apt-get", "install", "--yes", "chromium"]] : []),
  ];
  for (const [command = "", ...args] of attempts) {
    try {
      return chromiumPath();
    } catch {
      console.log(`There is no Chromium yet: ${args.join(" ")} …`);
      spawnSync(command, args, { stdio: "inherit", timeout: 300_000 });
    }
  }
  return chromiumPath();
}

function chromiumPath(): string {
  const named = process.env.PLAYWRIGHT_CHROMIUM_PATH;
  if (named !== undefined && named !== "") {
    if (existsSync(named)) return named;
    throw new Error(`PLAYWRIGHT_CHROMIUM_PATH is ${named}, and there is no such file.`);
  }
  const found = [chromium.executablePath(), ...SYSTEM_PATHS].find((path) => path !== "" && existsSync(path));
  if (found !== undefined) return found;
  throw new Error(
    "The browser tests need a Chromium and found none. Run `npx playwright install chromium`, or install the system's (`apt-get install chromium`), or name one in PLAYWRIGHT_CHROMIUM_PATH.",
  );
}

const SYSTEM_PATHS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable"];

/** Chromium's sandbox refuses to run as root, the user of containers. */
const ROOT_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
