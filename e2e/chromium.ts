import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chromium } from "@playwright/test";

const SYSTEM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];

/** The browser to test with: the one named, Playwright's own, or the system's; null when there is none. */
export function findChromium(): string | null {
  const named = process.env.PLAYWRIGHT_CHROMIUM_PATH;
  if (named) return named;
  return [chromium.executablePath(), ...SYSTEM].find((file) => existsSync(file)) ?? null;
}

/** Finds a browser, or gets one: by apt where we are root on Debian, else by Playwright. Throws what to do when neither works. */
export async function ensureChromium(): Promise<string> {
  const found = findChromium();
  if (found !== null) return found;
  const get = (command: string, args: string[]) => spawnSync(command, args, { stdio: "inherit", timeout: 600_000 }).status === 0;
  if (process.getuid?.() === 0 && existsSync("/usr/bin/apt-get")) {
    console.log("No browser is installed; installing Debian's chromium.");
    get("apt-get", ["update"]);
    get("apt-get", ["install", "-y", "--no-install-recommends", "chromium"]);
  } else {
    console.log("No browser is installed; asking Playwright for its own.");
    get(process.execPath, ["node_modules/@playwright/test/cli.js", "install", "chromium"]);
  }
  const installed = findChromium();
  if (installed === null) {
    throw new Error("There is no Chromium: install one (`npx playwright install chromium`, or your system's package), or name it in PLAYWRIGHT_CHROMIUM_PATH.");
  }
  return installed;
}

/** Flags for a browser that runs as root, or without a network. */
export const chromiumFlags = [
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
