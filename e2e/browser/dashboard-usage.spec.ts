import type { Page } from "@playwright/test";
import { parse } from "csv-parse/sync";
import { v7 as uuidv7 } from "uuid";
import { platformAccount } from "../../src/server/ledger/accounts.ts";
import { hashPassword } from "../../src/server/people/passwords.ts";
import { type Database, transaction } from "../../src/server/platform/db.ts";
import { foldUsage, refoldUsage } from "../../src/server/usage/rollup.ts";
import { makeLink, makeUser } from "../../src/testing/makers.ts";
import { expectNothingSerious } from "../axe.ts";
import { call, chat } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { outsideOfTheirBox } from "../layout.ts";
import { arrange, type World } from "../world.ts";

const password = "correct horse battery";
const HOUR = 60 * 60 * 1000;
const DAY = 24 * HOUR;

/** Signs in the developer of a world. */
async function signIn(page: Page, server: PostgresServer, world: World): Promise<string> {
  await server.db.prisma.user.update({ where: { id: world.developer.id }, data: { passwordHash: await hashPassword(password) } });
  const home = `/dashboard/${world.app.id}`;
  await page.goto(`${server.url}/sign-in?callbackUrl=${encodeURIComponent(home)}`);
  await page.getByLabel("Email").fill(world.developer.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await expect(page).toHaveURL(server.url + home);
  return server.url + home;
}

/** Inserts a request that was settled in the past, with the rows that the ledger would write. */
async function settledAt(
  db: Database,
  world: World,
  at: Date,
  request: { link: { id: string; externalUserId: string; walletId: string }; model: string; base: number; markup: number },
) {
  const paid = request.base + request.markup;
  const entry = {
    id: uuidv7({ msecs: at.getTime() - 400 }),
    appId: world.app.id,
    apiKeyId: world.key.id,
    linkedUserId: request.link.id,
    externalUserId: request.link.externalUserId,
    billingMode: "user" as const,
    walletId: request.link.walletId,
    revenueId: platformAccount.revenue,
    earningsId: world.app.earningsId,
    model: request.model,
    createdAt: at,
  };
  const moved: [string, number][] = [
    [request.link.walletId, -paid],
    [platformAccount.revenue, request.base],
    [world.app.earningsId, request.markup],
  ];
  await transaction(async (tx) => {
    // The sums are rebuilt, or the server's daily proof would find this request missing.
    await tx.prisma.usageFold.update({ where: { id: 1 }, data: { until: new Date(0), tailId: "00000000-0000-0000-0000-000000000000" } });
    await tx.prisma.usageHour.deleteMany();
    await tx.prisma.usageUserDay.deleteMany();
    await tx.prisma.usageUserMonth.deleteMany();
    await tx.prisma.hold.create({ data: { ...entry, amount: BigInt(paid + 50), expiresAt: new Date(at.getTime() + HOUR) } });
    await tx.prisma.usage.create({
      data: {
        ...entry,
        held: BigInt(paid + 50),
        base: BigInt(request.base),
        markup: BigInt(request.markup),
        outcome: "completed",
        endpoint: "/v1/chat/completions",
        provider: "openai",
        promptTokens: request.base,
        completionTokens: request.markup,
        upstreamStatus: 200,
        durationMs: 400,
      },
    });
    for (const [id, amount] of moved) await tx.prisma.account.update({ where: { id }, data: { available: { increment: BigInt(amount) } } });
  }, db);
}

/** A month of requests, with some on the boundary of a day, and some of this minute. */
async function makeMonth(server: PostgresServer) {
  const world = await arrange(server.db, { markupBps: 2_000, balance: 50_000_000n, developerBalance: 10_000_000n });
  const second = await makeUser(server.db, { credits: 50_000_000n });
  const other = await makeLink(server.db, world.app.id, second);
  const midnight = Math.floor((Date.now() - 9 * DAY) / DAY) * DAY;
  const moments = [midnight - 1, midnight, midnight + DAY - 1, midnight + DAY, midnight + 3 * DAY + 5 * HOUR, midnight - 4 * DAY];
  for (const [n, at] of moments.entries()) {
    await settledAt(server.db, world, new Date(at), {
      link: n % 2 === 0 ? world.link : other,
      model: n % 3 === 0 ? "gpt-4o" : "gpt-4o-mini",
      base: 1_000 + n,
      markup: 200 + n,
    });
  }
  // Rows that were inserted by hand are in no sums yet.
  await refoldUsage(server.db);
  for (const user of [world.as.user, other.externalUserId, world.as.user]) {
    expect((await call(server, "/v1/chat/completions", { key: world.as.key, user, body: chat("hi") })).status).toBe(200);
  }
  return { world, other };
}

type Sum = { group: string | null; requests: number; prompt_tokens: number; completion_tokens: number; credits_used: number };

async function sums(server: PostgresServer, world: World, query: string): Promise<Sum[]> {
  return (await call(server, `/v1/usage?${query}`, { key: world.as.key })).json.data;
}

/** The chart's figures, read from its table. */
async function charted(page: Page): Promise<Sum[]> {
  await page.getByText("The figures as a table").click();
  return page.getByRole("region", { name: "Figures of the chart" }).evaluate((region) =>
    [...region.querySelectorAll("tbody tr")].map((row) => {
      const cells = [...row.querySelectorAll("td")];
      const number = (n: number) => Number(cells[n]?.textContent?.replaceAll(",", ""));
      return {
        group: row.querySelector("time")?.getAttribute("datetime") ?? null,
        requests: number(0),
        prompt_tokens: number(2),
        completion_tokens: number(3),
        credits_used: Number(cells[4]?.querySelector("data")?.value),
      };
    }),
  );
}

/** The drawn chart: its axis labels with their heights, and the total height of all bars. */
async function drawn(page: Page): Promise<{ ticks: { text: string; height: number }[]; bars: number }> {
  const chart = page.getByRole("figure", { name: "Usage over time" });
  await expect(chart.locator(".recharts-bar-rectangle path").first()).toBeVisible();
  return chart.evaluate((figure) => {
    const ticks = [...figure.querySelectorAll(".recharts-yAxis-tick-labels .recharts-cartesian-axis-tick-value")];
    const zero = Math.max(...ticks.map((tick) => Number(tick.getAttribute("y"))));
    return {
      ticks: ticks.map((tick) => ({ text: tick.textContent, height: zero - Number(tick.getAttribute("y")) })),
      bars: [...figure.querySelectorAll(".recharts-bar-rectangle path")].reduce((sum, bar) => sum + Number(bar.getAttribute("height")), 0),
    };
  });
}

const used = (rows: Sum[]) => rows.filter((row) => row.requests > 0);

test("charts agree with /v1/usage, to the credit and on the boundary of a day, before and after folding", async ({
  page,
  postgresServer: server,
}) => {
  const { world, other } = await makeMonth(server);
  const home = await signIn(page, server, world);
  for (const folded of [false, true]) {
    if (folded) await foldUsage(server.db, { upTo: new Date() });
    const byDay = await sums(server, world, "group_by=day");
    expect(byDay).toHaveLength(6);
    await page.goto(home);
    expect(used(await charted(page))).toEqual(byDay);
    await page.goto(`${home}/usage`);
    expect(used(await charted(page))).toEqual(byDay);
    await page.goto(`${home}/usage?external_user_id=${other.externalUserId}`);
    expect(used(await charted(page))).toEqual(await sums(server, world, `group_by=day&external_user_id=${other.externalUserId}`));
    await page.goto(`${home}/usage?external_user_id=${other.externalUserId}&model=gpt-4o`);
    expect(used(await charted(page))).toEqual(
      await sums(server, world, `group_by=day&external_user_id=${other.externalUserId}&model=gpt-4o`),
    );

    for (const [by, query] of [
      ["model", ""],
      ["user", "?by=user"],
    ]) {
      await page.goto(`${home}/usage${query}`);
      const rows = await page.getByRole("table", { name: "Where it comes from" }).evaluate((table) =>
        [...table.querySelectorAll("tbody tr")].map((row) => ({
          group: row.querySelector("td")?.textContent,
          requests: Number(row.querySelectorAll("td")[1]?.textContent),
          credits_used: Number(row.querySelector("data")?.value),
        })),
      );
      const expected = await sums(server, world, `group_by=${by}`);
      expect(rows).toEqual(expected.map(({ group, requests, credits_used }) => ({ group, requests, credits_used })));
    }
  }
  // The axis begins at zero, and the total height of the bars is the sum beside the chart.
  for (const [metric, unit, figure] of [
    ["Cost", "$", "Cost to payers"],
    ["Earnings", "$", "Earned by you"],
    ["Requests", "", "Requests"],
  ] as const) {
    await page.goto(`${home}/usage`);
    await page.getByRole("button", { name: metric, exact: true }).click();
    const { ticks, bars } = await drawn(page);
    const [first, last] = [ticks[0], ticks.at(-1)];
    expect(first).toEqual({ text: `${unit}0`, height: 0 });
    const amountOf = ({ text = "" }: { text?: string | null } = {}) => Number(text?.replace(unit, ""));
    const pixels = (last?.height ?? 0) / amountOf(last);
    for (const tick of ticks) expect(Math.abs(tick.height - amountOf(tick) * pixels), tick.text).toBeLessThan(1);
    const sum = page
      .getByRole("term")
      .filter({ hasText: new RegExp(`^${figure}$`) })
      .locator("+ dd");
    const total = unit === "" ? Number(await sum.innerText()) : Number(await sum.locator("data").getAttribute("value")) / 1_000_000;
    expect(total).toBeGreaterThan(0);
    expect(Math.abs(bars - total * pixels), metric).toBeLessThan(1);
  }
  // The earnings are the markup on the app's ledger account.
  await page.goto(`${home}/earnings`);
  const earned = (await world.usage()).reduce((sum, row) => sum + row.markup, 0n);
  await expect(page.getByRole("main").locator("dd data").first()).toHaveAttribute("value", String(earned));
});

test("the log is filtered by the address, its rows open to the full record, and its CSV has the same requests", async ({
  page,
  postgresServer: server,
}) => {
  const { world, other } = await makeMonth(server);
  const home = await signIn(page, server, world);
  const newestFirst = (await world.usage()).reverse();
  const csvOf = async (query: string) => {
    const response = await page.request.get(`${home}/usage/requests.csv${query}`);
    expect(response.headers()["content-type"]).toContain("text/csv");
    return parse(await response.body(), { bom: true, columns: true }) as Record<string, string>[];
  };
  await page.goto(`${home}/usage`);
  const all = await csvOf("");
  expect(all.map((row) => row.request_id)).toEqual(newestFirst.map((row) => `req_${row.id.replaceAll("-", "")}`));
  expect(all.map((row) => [row.paid_credits, row.held_credits])).toEqual(
    newestFirst.map((row) => [String(row.base + row.markup), String(row.held)]),
  );
  await expect(page.getByRole("table", { name: "Requests" }).getByRole("row")).toHaveCount(all.length + 1);

  await page.getByLabel("Model").selectOption("gpt-4o");
  await page.getByLabel("External user id").fill(other.externalUserId);
  await page.getByRole("button", { name: "Filter" }).click();
  await expect(page).toHaveURL(/model=gpt-4o&external_user_id=/);
  const query = new URL(page.url()).search;
  const narrowed = await csvOf(query);
  expect(narrowed.length).toBeGreaterThan(0);
  expect(narrowed.every((row) => row.model === "gpt-4o" && row.external_user_id === other.externalUserId)).toBe(true);
  const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
  await expect(rows).toHaveCount(narrowed.length + 1);

  // By keyboard.
  await page.goto(`${home}/usage`);
  const openers = page.getByRole("table", { name: "Requests" }).getByRole("button");
  await openers.first().focus();
  await page.keyboard.press("ArrowDown");
  await expect(openers.nth(1)).toBeFocused();
  await page.keyboard.press("Enter");
  const record = page.getByRole("dialog", { name: "Request" });
  for (const text of [all[1]?.request_id as string, "Credits held", "Settled", "Its status", "200", "Returned"])
    await expect(record).toContainText(text);
  await page.keyboard.press("Escape");
  await expect(openers.nth(1)).toBeFocused();

  expect((await page.request.get(`${server.url}/dashboard/${uuidv7()}/usage/requests.csv`)).status()).toBe(404);
});

test("a linked user is found, given credits, unlinked, and refused", async ({ page, postgresServer: server }) => {
  const world = await arrange(server.db, {
    developerBalance: 5_000_000n,
    balance: 1_000_000n,
    externalUserId: "mara/ü 1",
    monthlyLimit: 3_000_000n,
  });
  const shown = await makeUser(server.db, { email: `shown-${uuidv7()}@example.com` });
  const link = await makeLink(server.db, world.app.id, shown, { externalUserId: "somebody-else" });
  await server.db.prisma.linkedUser.update({ where: { id: link.id }, data: { scope: "credits.spend email" } });
  const ask = () =>
    call(server, "/v1/chat/completions", { key: world.as.key, user: `UTF-8''${encodeURIComponent("mara/ü 1")}`, body: chat("hi") });
  expect((await ask()).status).toBe(200);
  const before = await world.balance();

  const home = await signIn(page, server, world);
  await page.getByRole("navigation", { name: "Test app" }).getByRole("link", { name: "Linked users" }).click();
  const search = page.getByLabel("External user id or email");
  // The search finds an email only with the scope `email`.
  await search.fill(world.user.email);
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.getByRole("heading", { name: "Nobody matches" })).toBeVisible();
  await search.fill(shown.email.slice(0, 20));
  await page.getByRole("button", { name: "Search" }).click();
  await expect(page.getByRole("table").getByText(shown.email)).toBeVisible();
  await search.fill("MARA/");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("link", { name: "mara/ü 1" }).click();
  await expect(page.getByRole("heading", { name: "mara/ü 1" })).toBeVisible();
  await expect(page.getByRole("main")).not.toContainText(world.user.email);
  const address = page.url();

  await page.getByRole("button", { name: "Give credits" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Amount in dollars").fill("7");
  await dialog.getByRole("button", { name: "Give" }).click();
  await expect(dialog.getByText("That is more than your wallet has.")).toBeVisible();
  await expect(dialog.getByText("Your wallet has $5.00.")).toBeVisible();
  await dialog.getByLabel("Amount in dollars").fill("1,50");
  await dialog.getByLabel("Note").fill("For trying it out");
  await dialog.getByRole("button", { name: "Give" }).click();
  await expect(page.getByRole("dialog", { name: "Credits given" })).toContainText("$1.50");
  expect(await world.balance()).toBe(before + 1_500_000n);
  expect(await world.developerBalance()).toBe(3_500_000n);
  await page.getByRole("button", { name: "Done" }).click();

  await page.goto(`${server.url}/dashboard/wallet?show=funding`);
  await expect(page.getByRole("table", { name: "Statement" })).toContainText("Given to mara/ü 1 of Test app");
  await page.getByRole("link", { name: "mara/ü 1" }).click();
  await page.getByRole("button", { name: "Unlink" }).click();
  const confirm = page.getByRole("button", { name: "Unlink user" });
  await expect(confirm).toBeDisabled();
  await page.getByLabel("Type mara/ü 1 to go on").fill("mara/ü 1");
  await confirm.click();
  await expect(page).toHaveURL(`${home}/linked-users`);
  await expect(page.getByRole("link", { name: "somebody-else" })).toBeVisible();
  await expect(page.getByRole("link", { name: "mara/ü 1" })).toHaveCount(0);
  const refused = await ask();
  expect([refused.status, refused.json.error.code]).toEqual([404, "not_found"]);
  expect((await page.goto(address))?.status()).toBe(404);
  await page.goto(home);
  await expect(page.getByText("1 lost")).toBeVisible();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`axe finds nothing serious on the screens of an app, ${colorScheme}`, async ({ browser, postgresServer: server }) => {
    const context = await browser.newContext({ colorScheme, viewport: { width: colorScheme === "light" ? 1440 : 390, height: 900 } });
    const page = await context.newPage();
    const { world } = await makeMonth(server);
    const empty = await arrange(server.db, {});
    await server.db.prisma.app.update({ where: { id: empty.app.id }, data: { ownerId: world.developer.id } });
    const home = await signIn(page, server, world);
    const none = `${server.url}/dashboard/${empty.app.id}`;
    const screens = [
      home,
      `${home}/usage`,
      `${home}/usage?period=today&by=user`,
      `${home}/usage?model=nothing`,
      `${home}/linked-users`,
      `${home}/linked-users/${world.link.id}`,
      `${home}/earnings`,
      `${server.url}/dashboard/wallet`,
      none,
      `${none}/usage`,
      `${none}/earnings`,
      `${none}/linked-users/${empty.link.id}`,
    ];
    for (const screen of screens) {
      await page.goto(screen);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      await expect(page.getByText("Loading", { exact: true })).toHaveCount(0);
      await expectNothingSerious(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `nothing of ${screen} is cut off`).toBe(
        true,
      );
    }
    await context.close();
  });
}

for (const colorScheme of ["light", "dark"] as const) {
  test(`at 320 px nothing on the screens of an app overflows, with long names and large amounts, ${colorScheme}`, async ({
    browser,
    postgresServer: server,
  }, testInfo) => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 320, height: 700 } });
    const page = await context.newPage();
    const { world } = await makeMonth(server);
    await server.db.prisma.app.update({ where: { id: world.app.id }, data: { name: `Acme ${"Incomprehensibilities".repeat(3)} Chat` } });
    const rich = await makeUser(server.db, { credits: 900_000_000_000n });
    const long = await makeLink(server.db, world.app.id, rich, { externalUserId: `${"organisation".repeat(8)}/person@example.com` });
    await settledAt(server.db, world, new Date(Date.now() - 2 * DAY), {
      link: long,
      model: "gpt-4.1-mini-2025-04-14",
      base: 1_234_567_890,
      markup: 987_654_321,
    });
    await refoldUsage(server.db);
    const home = await signIn(page, server, world);
    const pages = ["", "/usage", "/usage?by=user", "/earnings", "/earnings?period=90d", "/linked-users", `/linked-users/${long.id}`];
    const rest = ["/api-keys", "/webhooks", "/settings", "/get-started"];
    const screens = [...[...pages, ...rest].map((each) => home + each), `${server.url}/dashboard/wallet`, `${server.url}/dashboard`];
    const problems: string[] = [];
    for (const screen of screens) {
      await page.goto(screen);
      await expect(page.getByRole("heading", { level: 1 }).first()).toBeVisible();
      await expect(page.getByText("Loading", { exact: true })).toHaveCount(0);
      const name = screen.slice(server.url.length).replace(world.app.id, "app").replace(long.id, "user").replaceAll(/[/?=]/g, "-");
      const picture = testInfo.outputPath(`${name}.png`);
      await testInfo.attach(name, { body: await page.screenshot({ fullPage: true, path: picture }), contentType: "image/png" });
      problems.push(...(await outsideOfTheirBox(page)).map((problem) => `${name}: ${problem}`));
    }
    expect(problems).toEqual([]);
    await context.close();
  });
}
