import type { Page } from "@playwright/test";
import { makeLink } from "../../src/testing/makers.ts";
import { expect, test } from "../app.ts";
import { expectNothingSerious, expectNoViolation } from "../axe.ts";
import { call, chat } from "../client.ts";
import type { PostgresServer } from "../fixtures.ts";
import { authorizeUrl, type Client, HOSTED, makeClient, makePerson, originOf, type Person, pkce, redeem } from "../oauth.ts";

async function signIn(page: Page, person: Person): Promise<void> {
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** The code in the address, once the browser is back at the app. */
async function codeIn(page: Page): Promise<string> {
  await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
  return new URL(page.url()).searchParams.get("code") as string;
}

const exchange = async (server: PostgresServer, client: Client, code: string, verifier: string, externalUserId: string) =>
  (await redeem(server, client, { code, verifier }, { ...HOSTED, external_user_id: externalUserId })).json;

test("a user connects with a limit, the limit stops the app, the user raises it, and after disconnecting the app has no linked user", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const person = await makePerson(server.db, { credits: 8_400_000n });
  const client = await makeClient(server.db, { redirectUris: [app.url], markupBps: 2_000, name: "Acme Chat" });
  const { verifier, challenge } = pkce();

  await page.goto(authorizeUrl(server, client, challenge));
  await signIn(page, person);
  await expect(page.getByRole("heading", { name: "Acme Chat wants to use your wallet" })).toBeVisible();
  await expect(page.getByText("+ 20 %")).toBeVisible();
  await expect(page.getByText("Your balance: $8.40")).toBeVisible();
  await expect(page.getByText(person.email)).toBeVisible();
  await expect(page.getByLabel("Dollars a month")).toHaveValue("$5.00");

  await page.getByLabel("Dollars a month").fill("nothing");
  await page.getByRole("button", { name: "Allow" }).click();
  await expect(page.getByText("Write an amount above zero")).toBeVisible();
  await page.getByLabel("Dollars a month").fill("$0.01");
  await page.getByRole("button", { name: "Allow" }).click();

  const answer = await exchange(server, client, await codeIn(page), verifier, "their-1");
  expect(answer.user).toEqual({ id: person.id, email: person.email });
  const ask = () =>
    call(server, "/v1/chat/completions", {
      key: client.key,
      user: "their-1",
      body: chat("Hello", { max_tokens: 16_000, model: "gpt-4o" }),
    });
  const link = () => server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });
  expect((await link()).monthlyLimit).toBe(10_000n);

  const statuses: number[] = [];
  for (let request = 0; request < 200 && statuses.at(-1) !== 402; request++) statuses.push((await ask()).status);
  expect(statuses[0]).toBe(200);
  expect(statuses.at(-1)).toBe(402);
  const stopped = (await ask()).json as { error: { code: string } };
  expect(stopped.error.code).toBe("spending_limit_reached");
  const spent = await server.db.prisma.usage.aggregate({ where: { appId: client.appId }, _sum: { base: true, markup: true } });
  expect((spent._sum.base ?? 0n) + (spent._sum.markup ?? 0n)).toBeLessThanOrEqual(10_000n);
  expect(spent._sum.markup).toBeGreaterThan(0n);

  await page.goto(`${originOf(server)}/wallet`);
  const change = async (what: string) => {
    await page.getByRole("button", { name: "Change Acme Chat" }).click();
    await page.getByRole("menuitem", { name: what }).click();
  };
  await change("Monthly limit");
  await page.getByLabel("Dollars a month").fill("3");
  await page.getByRole("button", { name: "Save limit" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page.getByText("of $3.00 this month")).toBeVisible();
  expect((await ask()).status).toBe(200);

  await change("Disconnect");
  await page.getByRole("button", { name: "Disconnect", exact: true }).click();
  // Elements behind an open dialog have no role, so the test waits for a new element.
  await expect(page.getByRole("heading", { name: "No app is connected" })).toBeVisible();
  const gone = await ask();
  expect(gone.status).toBe(404);
  expect((gone.json as { error: { code: string } }).error.code).toBe("not_found");
});

test("a user connects by keyboard only, without a limit and with one model", async ({ page, postgresServer: server, app }) => {
  const person = await makePerson(server.db);
  const client = await makeClient(server.db, { redirectUris: [app.url], name: "Keys" });
  const { verifier, challenge } = pkce();
  await page.goto(authorizeUrl(server, client, challenge));
  await page.keyboard.type(person.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(person.password);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Keys wants to use your wallet" })).toBeVisible();

  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("radio", { name: "At most" })).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(page.getByRole("radio", { name: "No limit" })).toBeChecked();
  for (let step = 0; step < 5 && !(await focused()).startsWith("Models"); step++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("checkbox", { name: "gpt-4o-mini", exact: true }).focus();
  await page.keyboard.press("Space");
  for (let step = 0; step < 200 && (await focused()) !== "Allow"; step++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");

  await exchange(server, client, await codeIn(page), verifier, "by-keys");
  const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });
  expect(link).toMatchObject({ monthlyLimit: null, allowedModels: ["gpt-4o-mini"] });
});

test("Enter in the limit field means Allow, and Cancel returns to the app with nothing shared", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const person = await makePerson(server.db);
  const client = await makeClient(server.db, { redirectUris: [app.url] });
  await page.goto(authorizeUrl(server, client, pkce().challenge));
  await signIn(page, person);
  await page.getByLabel("Dollars a month").fill("1");
  await page.getByLabel("Dollars a month").press("Enter");
  expect(await codeIn(page)).toBeTruthy();

  await page.goto(authorizeUrl(server, client, pkce().challenge));
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
  expect(new URL(page.url()).searchParams.get("error")).toBe("access_denied");
  await page.goBack();
  await expect(page.getByRole("heading", { name: "This request is over" })).toBeVisible();
});

test("with the button Not you another user signs in, sees their own wallet, and the link is theirs; a stale tab of the first user has no effect", async ({
  page,
  context,
  postgresServer: server,
  app,
}) => {
  const [first, second] = [await makePerson(server.db), await makePerson(server.db, { credits: 3_210_000n })];
  const client = await makeClient(server.db, { redirectUris: [app.url] });
  const stale = await context.newPage();
  await stale.goto(authorizeUrl(server, client, pkce().challenge));
  await signIn(stale, first);
  await expect(stale.getByText(first.email)).toBeVisible();

  const { verifier, challenge } = pkce();
  await page.goto(authorizeUrl(server, client, challenge));
  await expect(page.getByText(first.email)).toBeVisible();
  await page.getByRole("button", { name: "not you?" }).click();
  await signIn(page, second);
  await expect(page.getByText(second.email)).toBeVisible();
  await expect(page.getByText("Your balance: $3.21")).toBeVisible();

  await stale.getByRole("button", { name: "Allow" }).click();
  await expect(stale.getByText("Something changed since this page was shown")).toBeVisible();
  await expect(stale.getByText(second.email)).toBeVisible();

  await page.getByRole("button", { name: "Allow" }).click();
  const answer = await exchange(server, client, await codeIn(page), verifier, "switched");
  expect(answer.user.id).toBe(second.id);
  expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(1);
});

test("a repeated request shows what is allowed already and what is new, and proposes the earlier settings", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const { db } = server;
  const person = await makePerson(db, { credits: 8_400_000n });
  const client = await makeClient(db, { redirectUris: [app.url], markupBps: 2_000, name: "Acme Chat" });
  const options = { externalUserId: "again", monthlyLimit: 3_210_000n, allowedModels: ["gpt-4o-mini"], agreedMarkupBps: 1_000 };
  const { id } = await makeLink(db, client.appId, person, options);
  await db.prisma.linkedUser.update({ where: { id }, data: { scope: "credits.spend" } });

  const wider = pkce();
  await page.goto(authorizeUrl(server, client, wider.challenge));
  await signIn(page, person);
  const lines = (title: string) => page.getByRole("region", { name: title }).getByRole("listitem").allInnerTexts();
  await expect(page.getByRole("heading", { name: "Already allowed" })).toBeVisible();
  expect(await lines("New")).toEqual(["see your balance", "see your email address"]);
  expect(await lines("Already allowed")).toEqual(["spend credits on AI requests you make"]);
  await expect(page.getByText("Now it asks for more")).toBeVisible();
  await expect(page.getByText("It was 10 % before")).toBeVisible();
  await expect(page.getByLabel("Dollars a month")).toHaveValue("$3.21");
  await expect(page.getByText(/only 1 of/)).toBeVisible();
  // An invalid amount keeps the other fields.
  await page.getByLabel("Dollars a month").fill("3,2,1");
  await page.getByRole("button", { name: "Allow" }).click();
  await expect(page.getByText("Write an amount above zero")).toBeVisible();
  await expect(page.getByText(/only 1 of/)).toBeVisible();

  // So do an ended session and a changed markup: the narrower choice stays.
  const filledIn = async () => {
    await expect(page.getByLabel("Dollars a month")).toHaveValue("$0.75");
    await expect(page.getByText(/only 2 of/)).toBeVisible();
  };
  const changed = page.getByText("Something changed since this page was shown");
  await page.getByText("Models:").click();
  await page.getByRole("checkbox", { name: "gpt-4o", exact: true }).check();
  await page.getByLabel("Dollars a month").fill("0.75");
  await page.context().clearCookies({ name: /session-token/ });
  await page.getByRole("button", { name: "Allow" }).click();
  await signIn(page, person);
  await filledIn();
  await expect(changed).toHaveCount(0);
  await db.prisma.app.update({ where: { id: client.appId }, data: { markupBps: 2_500 } });
  await page.getByRole("button", { name: "Allow" }).click();
  await expect(changed).toBeVisible();
  await expect(page.getByText("+ 25 %")).toBeVisible();
  await filledIn();
  // Search parameters do not fill in the form.
  await page.goto(`${page.url().split("?")[0]}?limit=50&model=gpt-4o-mini`);
  await filledIn();
  await page.getByRole("button", { name: "Allow" }).click();
  await exchange(server, client, await codeIn(page), wider.verifier, "again");
  const agreed = {
    monthlyLimit: 750_000n,
    allowedModels: ["gpt-4o", "gpt-4o-mini"],
    scope: "credits.read credits.spend",
    agreedMarkupBps: 2_500,
  };
  expect(await db.prisma.linkedUser.findUniqueOrThrow({ where: { id } })).toMatchObject(agreed);

  // The same request from another device: nothing is new.
  const same = pkce();
  await page.goto(authorizeUrl(server, client, same.challenge));
  await expect(page.getByRole("heading", { name: "Already allowed" })).toBeVisible();
  await expect(page.getByRole("region", { name: "New" })).toHaveCount(0);
  expect(await lines("Already allowed")).toHaveLength(3);
  await expect(page.getByText("It asks for nothing new")).toBeVisible();
  await expect(page.getByText("It was 10 % before")).toHaveCount(0);
  await expect(page.getByText("Limit and models are what you set before")).toBeVisible();
  await page.getByRole("button", { name: "Allow" }).click();
  await exchange(server, client, await codeIn(page), same.verifier, "again");
  expect(await db.prisma.linkedUser.findMany({ where: { appId: client.appId } })).toMatchObject([{ id, ...agreed }]);
});

test("an app that links a user under a second id shares the first link's limit, and every page says so", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const { db } = server;
  const person = await makePerson(db, { credits: 8_400_000n });
  const client = await makeClient(db, { redirectUris: [app.url], name: "Acme Chat" });
  await makeLink(db, client.appId, person, { externalUserId: "first", monthlyLimit: 5_000_000n, agreedMarkupBps: 0 });
  const ask = (user: string) => call(server, "/v1/chat/completions", { key: client.key, user, body: chat("Hello", { max_tokens: 20 }) });
  const limits = () =>
    Promise.all(
      ["first", "second"].map(async (user) => {
        const { limit, spent } = (await call(server, `/v1/users/${user}`, { key: client.key })).json;
        return { limit, spent };
      }),
    );
  expect((await ask("first")).status).toBe(200);

  const { verifier, challenge } = pkce();
  await page.goto(authorizeUrl(server, client, challenge));
  await signIn(page, person);
  await expect(page.getByText("This is the limit you set before. It is one for all your connections with this app.")).toBeVisible();
  await page.getByLabel("Dollars a month").fill("1");
  await page.getByRole("button", { name: "Allow" }).click();
  await exchange(server, client, await codeIn(page), verifier, "second");
  expect((await ask("second")).status).toBe(200);
  const [first, second] = await limits();
  expect(first).toEqual({ limit: 1_000_000, spent: expect.any(Number) });
  expect(second).toEqual(first);

  // A request without the scopes that links by the app's own ids need leaves those links as they are, and the page says so.
  const narrow = pkce();
  await page.goto(authorizeUrl(server, client, narrow.challenge, { scope: "openid" }));
  await expect(page.getByText("spend anything through this connection")).toBeVisible();
  await expect(page.getByText("What you allowed it in another connection stays as it is")).toBeVisible();

  await page.goto(`${originOf(server)}/wallet`);
  await expect(page.getByText("One of 2 connections with this app")).toHaveCount(2);
  await expect(page.getByText("of $1.00 this month")).toHaveCount(2);
  await expectNoViolation(page);
  await page.getByRole("button", { name: "Change Acme Chat, first" }).click();
  await page.getByRole("menuitem", { name: "Monthly limit" }).click();
  await expect(page.getByText("for all your connections with it together")).toBeVisible();
  await page.getByLabel("Dollars a month").fill("0");
  await page.getByRole("button", { name: "Save limit" }).click();
  await expect(page.getByText("of $0.00 this month")).toHaveCount(2);
  for (const user of ["first", "second"]) expect((await ask(user)).json.error.code).toBe("spending_limit_reached");

  await page.getByRole("button", { name: "Change Acme Chat, first" }).click();
  await page.getByRole("menuitem", { name: "Disconnect" }).click();
  await expect(page.getByText("The other connection with this app is not ended by this, and the same limit holds")).toBeVisible();
  await page.getByRole("button", { name: "Disconnect", exact: true }).click();
  await expect(page.getByText("One of 2 connections")).toHaveCount(0);
  expect((await ask("first")).status).toBe(404);
  expect((await ask("second")).json.error.code).toBe("spending_limit_reached");
});

test("an app that does not spend asks for no limit, and leaves an earlier one as it is", async ({ page, postgresServer: server, app }) => {
  const { db } = server;
  const person = await makePerson(db);
  const client = await makeClient(db, { redirectUris: [app.url], name: "Acme Chat" });
  const connect = async (scope: string) => {
    const { verifier, challenge } = pkce();
    await page.goto(authorizeUrl(server, client, challenge, { scope }));
    if (scope === "openid") await signIn(page, person);
    await expect(page.getByText("spend anything")).toBeVisible();
    await expect(page.getByLabel("Dollars a month")).toHaveCount(0);
    await page.getByRole("button", { name: "Allow" }).click();
    expect((await redeem(server, client, { code: await codeIn(page), verifier })).status).toBe(200);
  };
  await connect("openid");
  expect(await db.prisma.linkedUser.count({ where: { appId: client.appId } })).toBe(0);
  await connect("credits.read");
  const { id } = await db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });

  // A user who was never asked for a limit has not chosen to have none.
  const spending = pkce();
  await page.goto(authorizeUrl(server, client, spending.challenge));
  await expect(page.getByRole("radio", { name: "At most" })).toBeChecked();
  await expect(page.getByLabel("Dollars a month")).toHaveValue("$5.00");
  await page.getByLabel("Dollars a month").fill("2");
  await page.getByRole("button", { name: "Allow" }).click();
  expect((await redeem(server, client, { code: await codeIn(page), verifier: spending.verifier })).status).toBe(200);
  await connect("credits.read");
  expect(await db.prisma.linkedUser.findUniqueOrThrow({ where: { id } })).toMatchObject({
    monthlyLimit: 2_000_000n,
    scope: "credits.read",
  });
  // A sign-in changes no link, and the page does not say that it does.
  await page.goto(authorizeUrl(server, client, pkce().challenge, { scope: "openid" }));
  await expect(page.getByText("see your balance through this connection")).toBeVisible();
  await expect(page.getByText("spend anything", { exact: true })).toBeVisible();
});

test("an app can ask for a fresh sign-in, and for a choice of account", async ({ page, postgresServer: server, app }) => {
  const [person, other] = [await makePerson(server.db), await makePerson(server.db)];
  const client = await makeClient(server.db, { redirectUris: [app.url], name: "Acme Chat" });
  await page.goto(`${originOf(server)}/sign-in`);
  await signIn(page, person);
  await expect(page).toHaveURL(/\/wallet$/);

  const fresh = pkce();
  await page.goto(authorizeUrl(server, client, fresh.challenge, { prompt: "login" }));
  await expect(page.getByRole("heading", { name: "Sign in again" })).toBeVisible();
  await expect(page.getByLabel("Email")).toHaveValue(person.email);
  await expect(page.getByLabel("Password")).toBeFocused();
  await page.keyboard.type("not the password");
  await page.keyboard.press("Enter");
  await expect(page.getByText("do not belong together")).toBeVisible();
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Allow" }).click();
  expect((await exchange(server, client, await codeIn(page), fresh.verifier, "fresh")).user.id).toBe(person.id);

  const mine = pkce();
  await page.goto(authorizeUrl(server, client, mine.challenge, { prompt: "select_account" }));
  await expect(page.getByRole("heading", { name: "Which account should Acme Chat use?" })).toBeVisible();
  await page.getByRole("link", { name: `Continue as ${person.email}` }).click();
  await page.getByRole("button", { name: "Allow" }).click();
  expect((await exchange(server, client, await codeIn(page), mine.verifier, "mine")).user.id).toBe(person.id);

  const theirs = pkce();
  await page.goto(authorizeUrl(server, client, theirs.challenge, { prompt: "select_account" }));
  await page.getByRole("button", { name: "Use another account" }).click();
  await signIn(page, other);
  await expect(page.getByText(other.email)).toBeVisible();
  await page.getByRole("button", { name: "Allow" }).click();
  expect((await exchange(server, client, await codeIn(page), theirs.verifier, "theirs")).user.id).toBe(other.id);
});

test("two users in two browsers each get their own link to one app, in any order of clicks, with stale tabs and the back button", async ({
  browser,
  postgresServer: server,
  app,
}) => {
  const client = await makeClient(server.db, { redirectUris: [app.url] });
  const newcomer = async () => {
    const person = await makePerson(server.db);
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${originOf(server)}/sign-in`);
    await signIn(page, person);
    await expect(page).toHaveURL(/\/wallet$/);
    const tab = async () => {
      const { verifier, challenge } = pkce();
      const page = await context.newPage();
      await page.goto(authorizeUrl(server, client, challenge));
      await expect(page.getByText(person.email)).toBeVisible();
      return { page, verifier };
    };
    return { person, context, tab };
  };
  const [mara, theo] = [await newcomer(), await newcomer()];
  const over = (page: Page) => expect(page.getByRole("heading", { name: "This request is over" })).toBeVisible();
  const allow = async ({ page, verifier }: { page: Page; verifier: string }, as: string): Promise<string> => {
    await page.getByRole("button", { name: "Allow" }).click();
    return (await exchange(server, client, await codeIn(page), verifier, as)).user.id;
  };

  const [old, young, his, late] = [await mara.tab(), await mara.tab(), await theo.tab(), await mara.tab()];
  // A page that the other user began, by its address.
  const borrowed = await theo.context.newPage();
  await borrowed.goto(old.page.url());
  await over(borrowed);
  const lent = await mara.context.newPage();
  await lent.goto(his.page.url());
  await over(lent);

  // The newer request first, then the other user's, then the stale tab.
  expect(await allow(young, "mara-2")).toBe(mara.person.id);
  expect(await allow(his, "theo-1")).toBe(theo.person.id);
  expect(await allow(old, "mara-1")).toBe(mara.person.id);
  for (const { page } of [young, his, old]) {
    await page.goBack();
    await over(page);
    await page.reload();
    await over(page);
  }

  // Theo signs in in Mara's browser while one of her pages is open: the page shows Theo, and asks again.
  const switched = await mara.context.newPage();
  await mara.context.clearCookies({ name: /session-token/ });
  await switched.goto(`${originOf(server)}/sign-in`);
  await signIn(switched, theo.person);
  await expect(switched).toHaveURL(/\/wallet$/);
  await late.page.getByRole("button", { name: "Allow" }).click();
  await expect(late.page.getByText("Something changed since this page was shown")).toBeVisible();
  await expect(late.page.getByText(theo.person.email)).toBeVisible();
  expect(await allow(late, "theo-2")).toBe(theo.person.id);

  const links = await server.db.prisma.linkedUser.findMany({ where: { appId: client.appId }, orderBy: { externalUserId: "asc" } });
  expect(links.map(({ externalUserId, userId }) => [externalUserId, userId])).toEqual([
    ["mara-1", mara.person.id],
    ["mara-2", mara.person.id],
    ["theo-1", theo.person.id],
    ["theo-2", theo.person.id],
  ]);
  for (const { context } of [mara, theo]) await context.close();
});

test("a broken link shows an error to the user and to the developer", async ({ page, postgresServer: server }) => {
  await page.goto(`${originOf(server)}/oauth/authorize?client_id=quota_client_nobody`);
  await expect(page.getByRole("heading", { name: "This link is broken" })).toBeVisible();
  await expect(page.getByText("Nothing was shared")).toBeVisible();
  await expect(page.getByText("invalid_client")).toBeVisible();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`axe finds nothing serious on any page of the flow, ${colorScheme}`, async ({ browser, postgresServer: server }) => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    const client = await makeClient(server.db, { markupBps: 2_000 });
    await page.goto(authorizeUrl(server, client, pkce().challenge));
    await expect(page.getByRole("heading", { name: "Sign in to Quota" })).toBeVisible();
    await expectNothingSerious(page);
    await signIn(page, await makePerson(server.db));
    await page.getByText("Models:").click();
    await page.getByRole("checkbox").first().check();
    await expect(page.getByText(/only 1 of/)).toBeVisible();
    await expectNothingSerious(page);
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing is cut off").toBe(true);
    await page.getByLabel("Dollars a month").fill("x");
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page.getByText("Write an amount above zero")).toBeVisible();
    await expectNothingSerious(page);
    const person = await makePerson(server.db);
    await makeLink(server.db, client.appId, person, { monthlyLimit: 3_000_000n });
    await page.goto(
      authorizeUrl(server, client, pkce().challenge, { prompt: "select_account", scope: "openid credits.read credits.spend" }),
    );
    await expect(page.getByRole("heading", { name: /Which account/ })).toBeVisible();
    await expectNothingSerious(page);
    await page.getByRole("button", { name: "Use another account" }).click();
    await signIn(page, person);
    await expect(page.getByRole("heading", { name: "Already allowed" })).toBeVisible();
    await expectNothingSerious(page);
    await page.goto(authorizeUrl(server, client, pkce().challenge, { prompt: "login" }));
    await expect(page.getByRole("heading", { name: "Sign in again" })).toBeVisible();
    await expectNothingSerious(page);
    await page.goto(`${originOf(server)}/oauth/authorize?client_id=nobody`);
    await expectNothingSerious(page);
    await page.goto(`${originOf(server)}/connect/nobody`);
    await expect(page.getByRole("heading", { name: "This request is over" })).toBeVisible();
    await expectNothingSerious(page);
    await context.close();
  });
}
