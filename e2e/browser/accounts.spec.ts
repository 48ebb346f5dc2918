import type { BrowserContext, Page } from "@playwright/test";
import { decode, encode } from "next-auth/jwt";
import { hashPassword } from "../../src/server/people/passwords.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { expectNoViolation } from "../axe.ts";
import { call, chat } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { arrange, type World } from "../world.ts";

const password = "correct horse battery";
const newEmail = () => `${crypto.randomUUID()}@example.com`;

test.describe("an account", () => {
  test("a user signs up, types the code from the mail, and has a wallet with welcome credits", async ({
    page,
    simulatedServer: server,
  }) => {
    const email = newEmail();
    await page.goto(`${server.url}/wallet`);
    await page.getByRole("link", { name: "Make an account" }).click();
    await expect(page.getByRole("heading", { name: "Make an account" })).toBeVisible();
    await startSignUp(page, email);
    // Without mail settings the page says that no mail was sent.
    await expect(page.getByRole("status")).toHaveText(
      `This server sends no mail yet: its output has the one to ${email}. Type the code that is in it.`,
    );
    await page.getByLabel("Code").fill(await codeFor(server, email));
    await page.getByRole("button", { name: "Open my wallet" }).click();
    await expect(page).toHaveURL(`${server.url}/wallet`);
    await expect(page.getByRole("main")).toContainText("$1.00");
    await page.getByRole("button", { name: /Credits given by Quota/ }).click();
    await expect(page.getByRole("dialog", { name: "Receipt" })).toContainText("Welcome credits");
  });

  test("a code works after a reload of its page, and the password is not stored", async ({ page, simulatedServer: server }) => {
    const email = newEmail();
    await page.goto(`${server.url}/sign-up?callbackUrl=/wallet/security`);
    await startSignUp(page, email);
    await page.reload();
    await expect(page.getByText(email)).toBeVisible();
    expect(await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }))).not.toContain(password);
    await page.getByLabel("Code").fill(await codeFor(server, email));
    await page.getByRole("button", { name: "Open my wallet" }).click();
    await expect(page.getByRole("heading", { name: "Sign in to Quota" })).toBeVisible();
    await page.getByLabel("Email").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await expect(page).toHaveURL(`${server.url}/wallet/security`);
    // The stored sign-up is deleted.
    expect(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).not.toContain(email);
  });

  test("signing up leads to the page that asked to sign in", async ({ page, simulatedServer: server }) => {
    await signUp(page, server, newEmail(), "/wallet/security");
  });

  test("a short password and a mistyped address are explained", async ({ page, simulatedServer: server }) => {
    await page.goto(`${server.url}/sign-up`);
    await page.getByLabel("Email").fill("mara at example");
    await page.getByLabel("Password").fill("short");
    await page.getByRole("button", { name: "Continue" }).click();
    // The error is read out, and the focus is on the field.
    for (const says of ["Use at least 10 characters.", "Write an email address"])
      await expect(page.getByRole("alert").filter({ hasText: says })).toBeVisible();
    await expect(page.getByRole("button", { name: "Continue" })).toBeFocused();
    await expect(page.getByLabel("Password")).toHaveValue("short");
  });

  test("the server's answers are the same for a taken and a free address", async ({ page, simulatedServer: server }) => {
    const taken = newEmail();
    await signUp(page, server, taken);
    await page.getByRole("button", { name: "Sign out" }).click();
    await expect(page.getByRole("link", { name: "Sign in", exact: true })).toBeVisible();

    const seen: string[][] = [];
    for (const email of [taken, newEmail()]) {
      const answers: string[] = [];
      const listen = async (response: import("@playwright/test").Response) => {
        if (!response.url().includes("/api/trpc/")) return;
        const body = (await response.text()).replaceAll(/[0-9a-f-]{36}/g, "ID");
        answers.push(`${response.status()} ${new URL(response.url()).pathname} ${body}`);
      };
      page.on("response", listen);
      await page.goto(`${server.url}/sign-up`);
      // Leaves the sign-up of the round before.
      if (seen.length > 0) await page.getByRole("button", { name: "Use another address" }).click();
      await startSignUp(page, email);
      answers.push((await page.getByRole("main").innerText()).replaceAll(email, "EMAIL"));
      await page.getByLabel("Code").fill("0000 0000");
      await page.getByRole("button", { name: "Open my wallet" }).click();
      await expect(page.getByText("This code is not right")).toBeVisible();
      answers.push((await page.getByRole("main").innerText()).replaceAll(email, "EMAIL"));
      await page.goto(`${server.url}/forgot-password`);
      await page.getByLabel("Email").fill(email);
      await page.getByRole("button", { name: "Send the link" }).click();
      await expect(page.getByText(/This server sends no mail yet.*a mail with a link is in the server's output/)).toBeVisible();
      answers.push((await page.getByRole("main").innerText()).replaceAll(email, "EMAIL"));
      page.off("response", listen);
      seen.push(answers);
    }
    expect(seen[0]?.length).toBeGreaterThanOrEqual(6);
    expect(seen[0]?.toSorted()).toEqual(seen[1]?.toSorted());
    // Only the mail tells.
    await expect.poll(() => mailsTo(server, taken).join()).toContain("You already have a Quota account");
  });

  test("a link from the mail sets a new password once, and all sessions end", async ({ page, browser, simulatedServer: server }) => {
    const email = newEmail();
    await signUp(page, server, email);

    const elsewhere = await (await browser.newContext()).newPage();
    await elsewhere.goto(`${server.url}/sign-in`);
    await elsewhere.getByRole("link", { name: "Forgot your password?" }).click();
    await expect(elsewhere.getByRole("heading", { name: "Set a new password" })).toBeVisible();
    await elsewhere.getByLabel("Email").fill(email);
    await elsewhere.getByRole("button", { name: "Send the link" }).click();
    await expect.poll(() => mailsTo(server, email).at(-1)).toContain("/reset-password?token=");
    const link = /\/reset-password\?token=[\w-]+/.exec(mailsTo(server, email).at(-1) ?? "")?.[0] as string;
    await elsewhere.goto(server.url + link);
    await elsewhere.getByLabel("New password").fill("a new password");
    await elsewhere.getByRole("button", { name: "Save and sign in" }).click();
    await expect(elsewhere).toHaveURL(`${server.url}/wallet`);

    await page.goto(`${server.url}/wallet`);
    await expect(page).toHaveURL(/\/sign-in/);
    await page.goto(server.url + link);
    await expect(page.getByText("This link does not work any more")).toBeVisible();
    await signIn(page, server, { email, password });
    await expect(page.getByText("do not belong together")).toBeVisible();
    await signIn(page, server, { email, password: "a new password" });
    await expect(page).toHaveURL(`${server.url}/wallet`);
    await elsewhere.context().close();
  });

  test("changing the password ends other sessions and keeps this one", async ({ page, browser, simulatedServer: server }) => {
    const email = newEmail();
    await signUp(page, server, email, "/wallet/security");
    const elsewhere = await (await browser.newContext()).newPage();
    await signIn(elsewhere, server, { email, password });
    await expect(elsewhere).toHaveURL(`${server.url}/wallet`);

    await page.getByLabel("Current password").fill("not my password");
    await page.getByLabel("New password").fill("a new password");
    await page.getByRole("button", { name: "Change password" }).click();
    await expect(page.getByText("This is not your current password.")).toBeVisible();
    // The right fields keep their text.
    await page.getByLabel("Current password").fill(password);
    await page.getByLabel("New password").press("Enter");
    await expect(page.getByText("Other sessions have ended.")).toBeVisible();
    // The fields are new and empty; the focus stays in the form.
    await expect(page.getByRole("button", { name: "Change password" })).toBeFocused();
    for (const label of ["Current password", "New password"]) await expect(page.getByLabel(label)).toHaveValue("");

    await page.reload();
    await expect(page).toHaveURL(`${server.url}/wallet/security`);
    await elsewhere.reload();
    await expect(elsewhere).toHaveURL(/\/sign-in/);
    await elsewhere.context().close();
  });

  test("signing out everywhere ends this session and the others", async ({ page, browser, simulatedServer: server }) => {
    const email = newEmail();
    await signUp(page, server, email, "/wallet/security");
    const elsewhere = await (await browser.newContext()).newPage();
    await signIn(elsewhere, server, { email, password });
    await expect(elsewhere).toHaveURL(`${server.url}/wallet`);
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await expect(page).toHaveURL(`${server.url}/sign-in`);
    await elsewhere.reload();
    await expect(elsewhere).toHaveURL(/\/sign-in/);
    await elsewhere.context().close();
  });

  test("a sign-in that fails for now is explained, and the typed text stays", async ({ page, simulatedServer: server }) => {
    for (const [error, message] of [
      ["too_many_attempts", "Too many attempts. Wait 15 minutes, then try again."],
      ["busy", "Too many people are signing in right now. Try again in a moment."],
    ]) {
      await page.route("**/api/auth/callback/credentials", (route) =>
        route.fulfill({ status: 401, json: { url: `${server.url}/sign-in?error=${error}` } }),
      );
      await signIn(page, server, { email: "mara@example.com", password });
      await expect(page.getByRole("main").getByRole("alert")).toHaveText(message as string);
      await expect(page.getByLabel("Email")).toHaveValue("mara@example.com");
    }
  });

  test("sign-in has a button for GitHub when it is configured, and none for Google otherwise", async ({ page, start }) => {
    const server = await start({ pages: true, env: { GITHUB_CLIENT_ID: "github-client", GITHUB_CLIENT_SECRET: "github-secret" } });
    // The session cookie's address comes from QUOTA_URL, which is localhost by default.
    await page.route("https://github.com/**", (route) => route.fulfill({ body: "GitHub" }));
    await page.goto(`${server.url.replace("127.0.0.1", "localhost")}/sign-up`);
    await expect(page.getByRole("button", { name: /Google/ })).toHaveCount(0);
    await page.getByRole("button", { name: "Continue with GitHub" }).click();
    await expect(page).toHaveURL(/^https:\/\/github\.com\/login\/oauth\/authorize\?client_id=github-client/);
    expect(new URL(page.url()).searchParams.get("redirect_uri")).toMatch(/\/api\/auth\/callback\/github$/);
  });
});

test.describe("a connected app", () => {
  test("is refused by a lower limit from its next request on, and served with a higher one", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db, { monthlyLimit: 5_000_000n });
    expect((await ask(server, world)).status).toBe(200);
    await openWallet(page, server, world);
    await setLimit(page, "0");
    await expect(page.getByText("of $0.00 this month")).toBeVisible();
    expectError(await ask(server, world), 402, "spending_limit_reached");

    await setLimit(page, "2.50");
    await expect(page.getByText("of $2.50 this month")).toBeVisible();
    expect((await ask(server, world)).status).toBe(200);

    await change(page, "Monthly limit");
    await page.getByLabel("No limit").check();
    await page.getByRole("button", { name: "Save limit" }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await expect(page.getByText("this month, no limit")).toBeVisible();
    expect((await ask(server, world)).status).toBe(200);
  });

  test("gets another limit by keyboard, and the focus returns to where it was", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db, { monthlyLimit: 5_000_000n });
    await openWallet(page, server, world);
    const button = page.getByRole("button", { name: "Change Test app" });
    await expect(button).toBeEnabled();
    await button.focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("menuitem", { name: "Monthly limit" })).toBeFocused();
    await page.keyboard.press("Enter");
    const field = page.getByLabel("Dollars a month");
    await expect(field).toBeVisible();
    for (let n = 0; n < 5 && !(await field.evaluate((element) => element === document.activeElement)); n++)
      await page.keyboard.press("Tab");
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("2.50");
    await page.keyboard.press("Enter");
    await expect(page.getByText("of $2.50 this month")).toBeVisible();
    await expect(button).toBeFocused();
  });

  test("keeps its limit when the browser is offline: the page says so at once, and does not retry later", async ({
    page,
    postgresServer: server,
  }) => {
    const world = await arrange(server.db, { monthlyLimit: 5_000_000n });
    await openWallet(page, server, world);
    await change(page, "Monthly limit");
    await page.getByLabel("Dollars a month").fill("2.50");
    await page.context().setOffline(true);
    const save = page.getByRole("button", { name: "Save limit" });
    await save.click();
    await expect(page.getByRole("alert").filter({ hasText: "The server did not answer" })).toBeVisible();
    await expect(page.getByLabel("Dollars a month")).toHaveValue("2.50");
    await page.keyboard.press("Escape");
    await page.context().setOffline(false);
    // A queued request would be sent first.
    await page.getByRole("button", { name: "Pause Test app" }).click();
    await expect(page.getByText("Paused")).toBeVisible();
    await expect(page.getByText("of $5.00 this month")).toBeVisible();
  });

  test("gets the same answers as an unlinked app while it is paused", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db);
    await openWallet(page, server, world);
    await page.getByRole("button", { name: "Pause Test app" }).click();
    await expect(page.getByText("Paused")).toBeVisible();
    expectError(await ask(server, world), 404, "not_found");
    await page.getByRole("button", { name: "Resume Test app" }).click();
    await expect(page.getByText("Paused")).toHaveCount(0);
    await expect(page.getByRole("button", { name: "Pause Test app" })).toBeFocused();
    expect((await ask(server, world)).status).toBe(200);
  });

  test("gets 403 for a model that is not allowed", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db);
    await openWallet(page, server, world);
    await change(page, "Models");
    await page.getByLabel("Only these").check();
    await expect(page.getByRole("button", { name: "Save models" })).toBeDisabled();
    await page.getByLabel("gpt-4o", { exact: true }).check();
    await page.getByRole("button", { name: "Save models" }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await expect(page.getByText("Only gpt-4o")).toBeVisible();
    expectError(await ask(server, world), 403, "model_not_allowed");
    await change(page, "Models");
    await page.getByLabel("Any model").check();
    await page.getByRole("button", { name: "Save models" }).click();
    await expect(page.getByRole("dialog")).toHaveCount(0);
    await expect(page.getByText("Any model")).toBeVisible();
    expect((await ask(server, world)).status).toBe(200);
  });

  test("is disconnected, and its event says that the user did it", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db);
    await openWallet(page, server, world);
    await change(page, "Disconnect");
    await page.getByRole("button", { name: "Disconnect", exact: true }).click();
    await expect(page.getByText("No app is connected")).toBeVisible();
    // The focused button was removed with the app.
    await expect(page.locator(":focus")).toContainText("No app is connected");
    expectError(await ask(server, world), 404, "not_found");
    const events = await server.db.prisma.outboxEvent.findMany({ where: { appId: world.app.id } });
    expect(events.filter((event) => event.type === "user.disconnected").map((event) => event.data)).toMatchObject([{ reason: "user" }]);
  });

  test("loses access when the user deletes the account, whose address is free again", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db);
    await openWallet(page, server, world);
    await page.getByRole("link", { name: "Security" }).click();
    await page.getByRole("button", { name: "Delete account" }).click();
    const dialog = page.getByRole("dialog", { name: "Delete this account" });
    await expect(dialog.getByRole("button", { name: "Delete account" })).toBeDisabled();
    await dialog.getByLabel(/^Type .* to go on$/).fill(world.user.email);
    await expect(dialog.getByRole("button", { name: "Delete account" })).toBeDisabled();
    await dialog.getByLabel("Your password").fill("not my password");
    await dialog.getByRole("button", { name: "Delete account" }).click();
    await expect(dialog.getByRole("alert")).toHaveText("This is not your password.");
    await expectNoViolation(page);
    expect((await ask(server, world)).status).toBe(200);
    // By keyboard: the button is two tabs after the password, and Enter in a field submits.
    await dialog.getByLabel("Your password").focus();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type(password);
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(`${server.url}/`);
    expectError(await ask(server, world), 404, "not_found");
    expect(await server.db.prisma.user.count({ where: { email: world.user.email } })).toBe(0);
    await signIn(page, server, { email: world.user.email, password });
    await expect(page.getByText("do not belong together")).toBeVisible();
  });

  test("is deleted by a user without a password only after a fresh sign-in", async ({ page, context, postgresServer: server }) => {
    const world = await arrange(server.db);
    await openWallet(page, server, world);
    // A user who signed in through a provider some minutes ago.
    await server.db.prisma.user.update({ where: { id: world.user.id }, data: { passwordHash: null } });
    await signedInAgo(server, context, 11);
    await page.goto(`${server.url}/wallet/security`);
    await page.getByRole("button", { name: "Delete account" }).press("Enter");
    const dialog = page.getByRole("dialog", { name: "Delete this account" });
    await expect(dialog).toContainText("sign in again first");
    await expect(dialog.getByRole("textbox")).toHaveCount(0);
    await expectNoViolation(page);
    await dialog.getByRole("link", { name: "Sign in again" }).press("Enter");
    await expect(page.getByRole("heading", { name: "Sign in again" })).toBeVisible();
    await expect(page.getByText("Show that it is you before you go on.")).toBeVisible();

    // The user returns from a fresh sign-in.
    await signedInAgo(server, context, 1);
    await page.goto(`${server.url}/wallet/security`);
    await page.getByRole("button", { name: "Delete account" }).click();
    await dialog.getByRole("textbox").fill(world.user.email);
    await dialog.getByRole("button", { name: "Delete account" }).click();
    await expect(page).toHaveURL(`${server.url}/`);
    expect(await server.db.prisma.user.count({ where: { email: world.user.email } })).toBe(0);
  });

  test("has its own requests in the statement and in the file, with held and charged credits", async ({ page, postgresServer: server }) => {
    const world = await arrange(server.db, { markupBps: 2_000 });
    expect((await ask(server, world)).status).toBe(200);
    const [usage] = await world.usage();
    const charged = (usage?.base ?? 0n) + (usage?.markup ?? 0n);
    await openWallet(page, server, world);
    const rows = page.getByRole("button", { name: /Test app.*gpt-4o-mini|Credits given by Quota/s });
    await expect(rows).toHaveCount(2);
    await page.getByLabel("App", { exact: true }).selectOption({ label: "Test app" });
    await expect(page).toHaveURL(/\/wallet\?app=/);
    await expect(rows).toHaveCount(1);

    await rows.first().click();
    const receipt = page.getByRole("dialog", { name: "Receipt" });
    await expect(receipt).toContainText(`Reserved${(usage?.held ?? 0n).toLocaleString("en-US")} credits`);
    await expect(receipt).toContainText(`Charged in the end${charged.toLocaleString("en-US")} credits`);
    await page.keyboard.press("Escape");

    const download = page.waitForEvent("download");
    await page.getByRole("link", { name: "Download CSV" }).click();
    const stream = await (await download).createReadStream();
    const text = (await stream.toArray()).join("");
    const lines = text.trim().split("\r\n");
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain(`,${usage?.held},${usage?.base},${usage?.markup},-${charged},`);
  });

  test("of another user cannot be downloaded by a visitor", async ({ postgresServer: server }) => {
    expect((await fetch(`${server.url}/wallet/statement.csv`)).status).toBe(401);
  });
});

/** All mails to an address in the server's output. */
function mailsTo(server: ServerProcess, email: string): string[] {
  return server
    .output()
    .stdout.split("\n  Mail to ")
    .filter((mail) => mail.startsWith(`${email}:`));
}

async function codeFor(server: ServerProcess, email: string): Promise<string> {
  const code = () => /Your code is (\d{4} \d{4})/.exec(mailsTo(server, email).at(-1) ?? "")?.[1];
  await expect.poll(code).toBeDefined();
  return code() as string;
}

async function startSignUp(page: Page, email: string): Promise<void> {
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(page.getByLabel("Code")).toBeVisible();
}

async function signUp(page: Page, server: ServerProcess, email: string, path = "/wallet"): Promise<void> {
  await page.goto(`${server.url}/sign-up?callbackUrl=${encodeURIComponent(path)}`);
  await startSignUp(page, email);
  await page.getByLabel("Code").fill(await codeFor(server, email));
  await page.getByRole("button", { name: "Open my wallet" }).click();
  await expect(page).toHaveURL(server.url + path);
}

async function signIn(page: Page, server: ServerProcess, person: { email: string; password: string }): Promise<void> {
  await page.goto(`${server.url}/sign-in`);
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

/** Sets the time of signing in, in the session cookie of a browser. */
async function signedInAgo(server: PostgresServer, context: BrowserContext, minutes: number): Promise<void> {
  const { value } = await server.db.prisma.setting.findUniqueOrThrow({ where: { key: "session_secret" } });
  const secret = String(value);
  const cookie = (await context.cookies()).find(({ name }) => name.endsWith("next-auth.session-token"));
  if (cookie === undefined) throw new Error("nobody is signed in");
  const token = await decode({ token: cookie.value, secret });
  const changed = await encode({ token: { ...token, signedInAt: Date.now() - minutes * 60_000 }, secret });
  await context.addCookies([{ ...cookie, value: changed }]);
}

/** Signs in the linked user of a world and opens the wallet. */
async function openWallet(page: Page, server: PostgresServer, world: World): Promise<void> {
  await server.db.prisma.user.update({ where: { id: world.user.id }, data: { passwordHash: await hashPassword(password) } });
  await signIn(page, server, { email: world.user.email, password });
  await expect(page).toHaveURL(`${server.url}/wallet`);
}

async function change(page: Page, what: string): Promise<void> {
  await page.getByRole("button", { name: "Change Test app" }).click();
  await page.getByRole("menuitem", { name: what }).click();
}

async function setLimit(page: Page, amount: string): Promise<void> {
  await change(page, "Monthly limit");
  await page.getByLabel("Dollars a month").fill(amount);
  await page.getByRole("button", { name: "Save limit" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
}

function ask(server: PostgresServer, world: World) {
  return call(server, "/v1/chat/completions", { ...world.as, body: chat("Hello") });
}

function expectError(answer: { status: number; json: unknown }, status: number, code: string): void {
  expect(answer.status).toBe(status);
  expect((answer.json as { error: { code: string } }).error.code).toBe(code);
}
