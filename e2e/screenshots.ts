import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Page } from "@playwright/test";
import { forget, type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { chromiumLaunchOptions } from "./chromium.ts";
import { call } from "./client.ts";
import { originOf, pkce } from "./oauth.ts";

/**
 * `npm run screenshots`: starts the built server with its demo data, uses it, and takes the landing
 * page's screenshots, light and dark. Run it when a screen has changed, and look at the pictures.
 */
const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), "../public/screenshots");
const SHOTS = [
  { name: "consent", width: 440, height: 860, scale: 2 },
  { name: "wallet", width: 440, height: 860, scale: 2 },
  { name: "dashboard", width: 1280, height: 1180, scale: 1.5 },
] as const;

const server = await startServer();

/** How to get to the screen of each picture. */
const open: Record<(typeof SHOTS)[number]["name"], (page: Page) => Promise<void>> = {
  async consent(page) {
    const { demo } = server;
    // A user who has not connected this app.
    await signIn(page, "/wallet", demo.developer);
    const parameters = new URLSearchParams({
      response_type: "code",
      client_id: demo.app.client_id,
      redirect_uri: demo.app.redirect_uris[0] as string,
      state: "state",
      code_challenge: pkce().challenge,
      code_challenge_method: "S256",
      storage_mode: "hosted",
      external_user_id: "user_456",
    });
    await page.goto(`${originOf(server)}/oauth/authorize?${parameters}`);
    await page.getByRole("button", { name: "Allow" }).waitFor();
  },
  async wallet(page) {
    await signIn(page, "/wallet", server.demo.user);
    await page.getByText("Activity").first().waitFor();
  },
  async dashboard(page) {
    await signIn(page, "/dashboard", server.demo.developer);
    await page.getByRole("link", { name: /Acme Chat/ }).click();
    await page.getByText("Linked users").first().waitFor();
  },
};

const browser = await chromium.launch(chromiumLaunchOptions());
try {
  await mkdir(folder, { recursive: true });
  await someUse(server);
  for (const colorScheme of ["light", "dark"] as const) {
    for (const { name, width, height, scale } of SHOTS) {
      const context = await browser.newContext({
        viewport: { width, height },
        deviceScaleFactor: scale,
        colorScheme,
        locale: "en-US",
        timezoneId: "UTC",
        reducedMotion: "reduce",
      });
      const page = await context.newPage();
      await open[name](page);
      await page.waitForLoadState("networkidle");
      await writeFile(path.join(folder, `${name}-${colorScheme}.webp`), await webp(browser, await page.screenshot()));
      console.log(`public/screenshots/${name}-${colorScheme}.webp`);
      await context.close();
    }
  }
} finally {
  await browser.close();
  await server.stop();
  await forget(server);
}

/** Sends requests of several kinds, so that the screens have data. */
async function someUse({ demo }: ServerProcess): Promise<void> {
  const questions = [
    "Plan three days in Lisbon.",
    "Shorten this paragraph.",
    "What is a hold?",
    "Write a haiku about ledgers.",
    "Explain PKCE.",
  ];
  const models = ["gpt-4o", "gpt-4.1", "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini"];
  for (let n = 0; n < 40; n++) {
    const body = {
      model: models[n % models.length],
      messages: [{ role: "user", content: `simulate: long ${900 + ((n * 1370) % 4000)} ${questions[n % questions.length]}` }],
    };
    await call(server, "/v1/chat/completions", { key: demo.api_keys.user, user: demo.user.external_user_id, body });
  }
}

async function signIn(page: Page, to: string, person: { email: string; password: string }): Promise<void> {
  await page.goto(`${originOf(server)}/sign-in?callbackUrl=${encodeURIComponent(to)}`);
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(originOf(server) + to);
}

/** Converts PNG to WebP in the browser, to a third of the size. */
async function webp(from: Browser, png: Buffer): Promise<Buffer> {
  const page = await from.newPage();
  const made = await page.evaluate(
    async (source) => {
      const image = new Image();
      image.src = source;
      await image.decode();
      const canvas = document.createElement("canvas");
      canvas.width = image.width;
      canvas.height = image.height;
      canvas.getContext("2d")?.drawImage(image, 0, 0);
      return canvas.toDataURL("image/webp", 0.9);
    },
    `data:image/png;base64,${png.toString("base64")}`,
  );
  await page.close();
  return Buffer.from(made.split(",")[1] as string, "base64");
}
