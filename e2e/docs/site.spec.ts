import type { Page } from "@playwright/test";
import { pathOf, slugs } from "../../src/app/docs/_content/book.ts";
import { errorTable } from "../../src/server/platform/errors.ts";
import { expectNoViolation } from "../axe.ts";
import { expect, test } from "../fixtures.ts";

const pages = ["/", ...slugs.map(pathOf)];

test("no link and no anchor is broken, starting from the landing page", async ({ simulatedServer: { url } }) => {
  test.setTimeout(120_000);
  const seen = new Map<string, { ids: Set<string>; from: string }>();
  const broken: string[] = [];
  const wanted: { path: string; anchor: string; from: string }[] = [];
  const queue = [{ path: "/", from: "the start" }];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { path, from } = next;
    if (seen.has(path)) continue;
    const response = await fetch(url + path, { redirect: "manual", headers: { accept: "text/html,*/*" } });
    const html = response.headers.get("content-type")?.includes("text/html") ? withoutScripts(await response.text()) : "";
    seen.set(path, { ids: new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => decoded(id as string))), from });
    // A redirect to signing in is an answer.
    const moved = response.headers.get("location");
    if (response.status >= 400 || (moved !== null && !moved.includes("/sign-in")))
      broken.push(`${path} is ${response.status}, linked from ${from}`);
    for (const [, raw = ""] of html.matchAll(/<(?:a|img|source|link)\b[^>]*?\s(?:href|src|srcSet)="([^"]+)"/g)) {
      const target = URL.parse(decoded(raw), url + path);
      if (target === null) {
        broken.push(`${path} links to ${raw}`);
        continue;
      }
      if (target.origin !== url && target.hostname !== "localhost") continue;
      const found = target.pathname + target.search;
      if (target.hash !== "") wanted.push({ path: found, anchor: decodeURIComponent(target.hash.slice(1)), from: path });
      if (!found.startsWith("/_next/")) queue.push({ path: found, from: path });
    }
  }
  for (const { path, anchor, from } of wanted) {
    if (!seen.get(path)?.ids.has(anchor)) broken.push(`${path}#${anchor} is no place, linked from ${from}`);
  }
  expect(broken).toEqual([]);
  // Every page was visited.
  expect(pages.filter((path) => !seen.has(path))).toEqual([]);
  for (const code of Object.keys(errorTable)) expect(seen.get("/docs/errors")?.ids.has(code), code).toBe(true);
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`axe finds nothing on any page, ${colorScheme}`, async ({ browser, simulatedServer: { url } }) => {
    test.setTimeout(180_000);
    const context = await browser.newContext({ colorScheme });
    const page = await context.newPage();
    for (const path of pages) {
      await page.goto(url + path);
      if (path === "/docs/api")
        await page
          .getByRole("button", { name: /^Try it/ })
          .first()
          .click();
      await expectNoViolation(page);
    }
    await context.close();
  });
}

test("pages fit a narrow screen", async ({ browser, simulatedServer: { url } }) => {
  const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  for (const path of pages) {
    await page.goto(url + path);
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(`${path} ${beyond}`).toBe(`${path} 0`);
  }
  await context.close();
});

test("the landing page addresses users, developers and operators on its first screen", async ({ browser, simulatedServer: { url } }) => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(url);
  for (const name of ["Open your wallet", "Add Connect Wallet", "Run your own"])
    await expect(page.getByRole("main").getByRole("link", { name })).toBeInViewport({ ratio: 1 });
  await expect(page.getByRole("figure", { name: /connects their wallet once/ })).toBeInViewport({ ratio: 1 });
  await context.close();
});

test("the first page is under 150 kB of JavaScript, its largest paint under a second", async ({ browser, simulatedServer: { url } }) => {
  for (const [path, most] of [
    ["/", 150],
    ["/docs/quickstart", 170],
  ] as const) {
    // The server has rendered the page once; the browser has no cache.
    await (await fetch(url + path)).text();
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    const scripts = await transferredScripts(page);
    await page.goto(url + path, { waitUntil: "networkidle" });
    const paint = await largestPaint(page);
    const kilobytes = scripts.bytes() / 1000;
    test.info().annotations.push({
      type: "budget",
      description: `${path}: ${kilobytes.toFixed(0)} kB of JavaScript, largest paint ${paint.toFixed(0)} ms`,
    });
    console.log(`${path}: ${kilobytes.toFixed(0)} kB of JavaScript transferred, largest paint after ${paint.toFixed(0)} ms`);
    expect(kilobytes).toBeGreaterThan(0);
    expect(kilobytes).toBeLessThan(most);
    expect(paint).toBeGreaterThan(0);
    expect(paint).toBeLessThan(1000);
    await context.close();
  }
});

test("search finds a section by a word in it, and leads there by keyboard", async ({ page, simulatedServer: { url } }) => {
  await page.goto(`${url}/docs`);
  await expect(page.getByRole("button", { name: "Search" })).toBeEnabled();
  await page.keyboard.press("/");
  const input = page.getByRole("combobox", { name: "Search the documentation" });
  await input.fill("idempot");
  await expect(page.getByRole("option").first()).toBeVisible();
  await input.fill("insufficient_credits");
  await expect(page.getByRole("option").first()).toContainText("insufficient_credits");
  await input.press("Enter");
  await expect(page).toHaveURL(`${url}/docs/errors#insufficient_credits`);
  await expect(page.getByRole("heading", { name: "insufficient_credits" })).toBeInViewport();
  await page.keyboard.press("Control+k");
  await input.fill("zzzz");
  await expect(page.getByText("Nothing about “zzzz”.")).toBeVisible();
});

test("the API reference sends requests with a sandbox key only", async ({ page, simulatedServer }) => {
  const { url, demo } = simulatedServer;
  await page.goto(`${url}/docs/api`);
  await page.getByRole("button", { name: "Try it: Create a chat completion" }).click();
  const form = page.getByRole("region", { name: "Try it: Create a chat completion" });
  await expect(form.getByLabel("Your sandbox key")).toBeFocused();
  const balance = async () =>
    (await (await fetch(`${url}/v1/balance`, { headers: { authorization: `Bearer ${demo.api_keys.developer}` } })).json()).balance;
  const before = await balance();
  await form.getByLabel("Your sandbox key").fill(demo.api_keys.developer);
  await form.getByRole("button", { name: "Send POST" }).click();
  await expect(form.getByText(/not in billing mode Sandbox/)).toBeVisible();
  expect(await balance()).toBe(before);
  await form.getByLabel("Your sandbox key").fill(demo.api_keys.test);
  await form.getByRole("button", { name: "Send POST" }).click();
  await expect(form.getByText("Status 200")).toBeVisible();
  await expect(form.getByRole("region", { name: "The answer" })).toContainText('"credits_used"');
  // The request is in the usage, without a filter.
  await page.getByRole("button", { name: "Try it: Read usage" }).click();
  const usage = page.getByRole("region", { name: "Try it: Read usage" });
  await usage.getByRole("button", { name: "Send GET" }).click();
  await expect(usage.getByRole("region", { name: "The answer" })).toContainText('"credits_used"');
  await form.getByLabel("Body").fill("{");
  await form.getByRole("button", { name: "Send POST" }).click();
  await expect(form.getByText("Status 400")).toBeVisible();
});

function withoutScripts(html: string): string {
  return html.replaceAll(/<script\b[\s\S]*?<\/script>/g, "");
}

function decoded(html: string): string {
  return html.replaceAll("&amp;", "&").replaceAll("&#x27;", "'").replaceAll("&quot;", '"');
}

/** Bytes of JavaScript as transferred. */
async function transferredScripts(page: Page): Promise<{ bytes(): number }> {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const scripts = new Set<string>();
  let bytes = 0;
  session.on("Network.responseReceived", ({ requestId, type }) => {
    if (type === "Script") scripts.add(requestId);
  });
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (scripts.has(requestId)) bytes += encodedDataLength;
  });
  return { bytes: () => bytes };
}

function largestPaint(page: Page): Promise<number> {
  return page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        new PerformanceObserver((list) => resolve(list.getEntries().at(-1)?.startTime ?? 0)).observe({
          type: "largest-contentful-paint",
          buffered: true,
        });
      }),
  );
}
