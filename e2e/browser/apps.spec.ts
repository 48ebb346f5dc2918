import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Locator, Page } from "@playwright/test";
import { makeApp, makeKey, makeLink } from "../../src/testing/makers.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { expectNothingSerious } from "../axe.ts";
import { call, chat } from "../client.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { installAsWritten } from "../install.ts";
import { authorizeUrl, type Client, formPost, makePerson, originOf, type Person, pkce } from "../oauth.ts";

test("from signing up to the first billed request, with the snippets as shown", async ({ page, simulatedServer: server }) => {
  const email = `${crypto.randomUUID()}@example.com`;
  await page.goto(`${server.url}/sign-up?callbackUrl=/dashboard`);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Code").fill(await codeFor(server, email));
  await page.getByRole("button", { name: "Open my wallet" }).click();
  await expect(page.getByRole("heading", { name: "Register your first app" })).toBeVisible();

  await page.getByRole("button", { name: "New app" }).click();
  await page.getByRole("button", { name: "Create app" }).click();
  await expect(page.getByText("Give it a name.")).toBeVisible();
  await page.getByLabel("Name").fill("First Chat");
  await page.getByRole("button", { name: "Create app" }).click();
  await expect(page.getByText(/^quota_secret_[0-9A-Za-z]{32}$/)).toBeVisible();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "I have saved it" }).click();

  await expect(page.getByRole("heading", { name: "Get started" })).toBeVisible();
  await page.getByRole("button", { name: "Make a key" }).click();
  await expect(page.getByText(/^sk-quota-[0-9A-Za-z]{32}$/)).toBeVisible();
  await expect(page.getByRole("heading", { name: "Waiting for the first request" })).toBeVisible();

  const curl = await page.getByRole("region", { name: "curl snippet" }).locator("pre").innerText();
  const ran = spawnSync("sh", ["-c", curl], { encoding: "utf8", timeout: 30_000 });
  const answer = JSON.parse(ran.stdout);
  expect(answer.quota.billing_mode).toBe("developer");
  expect(answer.quota.balance_after).toBe(1_000_000 - answer.quota.credits_used);
  // Without a reload.
  await expect(page.getByRole("heading", { name: "It arrived" })).toBeVisible();
  for (const step of ["Make an API key", "Send a request", "It arrived"])
    await expect(page.getByRole("heading", { name: new RegExp(`^${step} ?, done$`) })).toBeVisible();
  const arrived = page.getByRole("listitem").filter({ hasText: "gpt-4o-mini" }).filter({ hasText: "Completed" });
  await expect(arrived.locator(`data[value="${answer.quota.credits_used}"]`)).toBeVisible();

  await page.getByRole("tab", { name: "openai" }).click();
  const program = await page.getByRole("region", { name: "openai snippet" }).locator("pre").innerText();
  expect(await runProgram(program)).toMatch(/simulator/);
  await page.getByRole("tab", { name: "@usequota/core" }).click();
  const own = await page.getByRole("region", { name: "@usequota/core snippet" }).locator("pre").innerText();
  expect(await runProgram(own, await page.getByText("npm run build:packages").innerText())).toMatch(/simulator/);
  await expect(page.getByRole("listitem").filter({ hasText: "Completed" }).filter({ hasNotText: "It arrived" })).toHaveCount(3);
});

test("a key is created, used, revoked and refused", async ({ page, postgresServer: server }) => {
  const { app, owner } = await arrange(server);
  await open(page, server, owner, `/dashboard/${app.id}/api-keys`);
  await page.getByRole("button", { name: "New API key" }).click();
  await page.getByLabel("Name").fill("Production");
  await page.getByRole("radio", { name: "Developer" }).check();
  await page.getByRole("button", { name: "Make key" }).click();
  const secret = await page.getByText(/^sk-quota-[0-9A-Za-z]{32}$/).innerText();
  const row = page.getByRole("row", { name: /Production/ });
  await page.getByRole("button", { name: "I have saved it" }).click();
  await expect(page.getByText(secret)).toHaveCount(0);
  await expect(row).toContainText(`sk-quota-…${secret.slice(-4)}`);
  await expect(row).toContainText("never");
  await expect(row).toContainText(owner.email);

  expect((await ask(server, secret)).status).toBe(200);
  await page.reload();
  await expect(row).toContainText("just now");

  await act(page, "Production", "Revoke");
  const dialog = page.getByRole("dialog", { name: "Revoke “Production”" });
  await expect(dialog.getByRole("button", { name: "Revoke key" })).toBeDisabled();
  await dialog.getByRole("textbox").fill("Production");
  await dialog.getByRole("button", { name: "Revoke key" }).click();
  await expect(page.getByRole("table", { name: "Keys that have ended" })).toContainText("Revoked");
  await expect(page.getByRole("button", { name: "New API key" })).toBeFocused();
  expect((await ask(server, secret)).status).toBe(401);
});

test("a key is rolled: both work during the overlap, then only the new one", async ({ page, postgresServer: server }) => {
  const { app, owner } = await arrange(server);
  const old = await makeKey(server.db, app.id);
  await open(page, server, owner, `/dashboard/${app.id}/api-keys`);
  await act(page, "Test key", "Roll");
  await page.getByLabel("goes on working").selectOption("For an hour");
  await page.getByRole("button", { name: "Roll key" }).click();
  const fresh = await page.getByText(/^sk-quota-[0-9A-Za-z]{32}$/).innerText();
  await page.getByRole("button", { name: "I have saved it" }).click();
  await expect(page.getByText(`Rolled to …${fresh.slice(-4)}`)).toBeVisible();
  expect([(await ask(server, old.secret)).status, (await ask(server, fresh)).status]).toEqual([200, 200]);

  await server.db.prisma.apiKey.update({ where: { id: old.id }, data: { expiresAt: new Date(Date.now() - 1_000) } });
  expect([(await ask(server, old.secret)).status, (await ask(server, fresh)).status]).toEqual([401, 200]);
  await page.reload();
  await expect(page.getByRole("table", { name: "Keys that have ended" })).toContainText(`Rolled to …${fresh.slice(-4)}`);
});

test("the preview is exactly the consent page, with unsaved settings", async ({ page, postgresServer: server }) => {
  const { app, owner } = await arrange(server);
  await open(page, server, owner, `/dashboard/${app.id}/settings`);
  const form = page.getByRole("form", { name: "Settings of this app" });
  await form.getByLabel("Name").fill("Nova & <Notes>");
  await form.getByLabel("Site").fill("https://nova.example/about");
  await form.getByLabel("Logo").setInputFiles({ name: "logo.png", mimeType: "image/png", buffer: PNG });
  await expect(form.getByRole("button", { name: "Remove logo" })).toBeVisible();
  await form.getByLabel("Markup").fill("12.5");
  await form.getByLabel("Only some").check();
  for (const model of ["gpt-4o", "gpt-4o-mini"]) await form.getByRole("checkbox", { name: model, exact: true }).check();
  await form.getByRole("checkbox", { name: "profile" }).uncheck();
  await form.getByRole("button", { name: "Remove redirect URI 1" }).click();
  const another = form.getByRole("button", { name: "Add another" });
  await expect(another).toBeFocused();
  await another.click();
  await form.getByLabel("Redirect URI 1", { exact: true }).fill("http://localhost:4321/back");
  const preview = await sheetOf(page, "[data-preview]");
  await form.getByRole("button", { name: "Save settings" }).click();
  await expect(form.getByText("Saved.")).toBeVisible();
  await expect(form.getByRole("button", { name: "Save settings" })).toBeFocused();

  const client: Client = { ...(await clientOf(server, app.id)), redirectUri: "http://localhost:4321/back" };
  await page.goto(authorizeUrl(server, client, pkce().challenge, { scope: "openid email credits.read credits.spend" }));
  await expect(page.getByRole("heading", { name: "Nova & <Notes> wants to use your wallet" })).toBeVisible();
  const real = await sheetOf(page, "main");
  expect(preview).toBe(real);
  for (const part of ["12.5", "data:image/", "nova.example", "localhost:4321", "$5.00", owner.email]) expect(real).toContain(part);
  expect(real).not.toContain("see your name");

  // A removed scope cannot be requested any more.
  await page.goto(authorizeUrl(server, client, pkce().challenge, { scope: "openid profile" }));
  await expect(page.getByText("requested scope is not allowed")).toBeVisible();
});

test("invalid settings are named, and the typed text stays", async ({ page, postgresServer: server }) => {
  const { app, owner } = await arrange(server);
  await open(page, server, owner, `/dashboard/${app.id}/settings`);
  const form = page.getByRole("form", { name: "Settings of this app" });
  await form.getByLabel("Redirect URI 1", { exact: true }).fill("http://acme.chat/callback");
  await form.getByLabel("Markup").fill("a lot");
  await form.getByLabel("Site").fill("acme.chat");
  await form.getByRole("button", { name: "Save settings" }).click();
  await expect(form.getByText("Http works only on localhost; use https.")).toBeVisible();
  await expect(form.getByText("Write a percentage")).toBeVisible();
  await expect(form.getByText("Write the whole address")).toBeVisible();
  await expect(form.getByLabel("Redirect URI 1", { exact: true })).toHaveValue("http://acme.chat/callback");
  expect((await server.db.prisma.app.findUniqueOrThrow({ where: { id: app.id } })).redirectUris).toEqual(app.redirectUris);

  // A link asks before it loses the typed text.
  const questions: string[] = [];
  page.on("dialog", async (dialog) => {
    questions.push(dialog.message());
    await (questions.length === 1 ? dialog.dismiss() : dialog.accept());
  });
  const elsewhere = page.getByRole("navigation", { name: "Test app" }).getByRole("link", { name: "Webhooks" });
  await elsewhere.click();
  expect(questions).toEqual([expect.stringContaining("not saved yet")]);
  await expect(form.getByLabel("Markup")).toHaveValue("a lot");
  await elsewhere.click();
  await expect(page).toHaveURL(`${originOf(server)}/dashboard/${app.id}/webhooks`);
  expect(questions).toHaveLength(2);
});

test("a client secret is rotated: both work until the old one is ended", async ({ page, postgresServer: server }) => {
  const { app, owner } = await arrange(server);
  await open(page, server, owner, `/dashboard/${app.id}/settings`);
  const rotate = async (overlap: string) => {
    await page.getByRole("button", { name: "Rotate secret" }).click();
    await page.getByLabel("goes on working").selectOption(overlap);
    await page.getByRole("button", { name: "Make a new secret" }).click();
    const secret = await page.getByText(/^quota_secret_[0-9A-Za-z]{32}$/).innerText();
    await page.getByRole("button", { name: "I have saved it" }).click();
    await expect(page.getByText(secret)).toHaveCount(0);
    return secret;
  };
  const client = await clientOf(server, app.id);
  const status = async (secret: string) =>
    (await formPost(server, "/oauth/introspect", client, { token: "no-such-token" }, { secret })).status;

  const first = await rotate("Not at all: it ends now");
  const second = await rotate("For a day");
  await expect(page.getByText(`quota_secret_…${first.slice(-4)}, works until`)).toBeVisible();
  expect([await status(first), await status(second), await status("quota_secret_wrong")]).toEqual([200, 200, 401]);
  await page.getByRole("button", { name: "End it now" }).click();
  await expect(page.getByText("works until")).toHaveCount(0);
  expect([await status(first), await status(second)]).toEqual([401, 200]);
});

test("an app is deleted by its name: keys and links end, and statements of its payers still have it", async ({
  page,
  postgresServer: server,
}) => {
  const { app, owner } = await arrange(server);
  const [key, mara] = [await makeKey(server.db, app.id), await makePerson(server.db)];
  const link = await makeLink(server.db, app.id, mara);
  const asMara = () => call(server, "/v1/chat/completions", { key: key.secret, user: link.externalUserId, body: chat("Hello") });
  expect((await asMara()).status).toBe(200);

  await open(page, server, owner, `/dashboard/${app.id}/settings`);
  await page.getByRole("button", { name: "Delete app" }).click();
  const dialog = page.getByRole("dialog", { name: "Delete Test app" });
  await expect(dialog).toContainText("One person is disconnected.");
  await dialog.getByLabel("Type Test app to go on").fill("test app");
  await expect(dialog.getByRole("button", { name: "Delete app" })).toBeDisabled();
  await dialog.getByLabel("Type Test app to go on").fill("Test app");
  await expect(dialog.getByRole("button", { name: "Delete app" })).toBeDisabled();
  await dialog.getByLabel("Your password").fill(owner.password);
  await dialog.getByRole("button", { name: "Delete app" }).click();
  await expect(page.getByRole("heading", { name: "Register your first app" })).toBeVisible();

  expect((await asMara()).status).toBe(401);
  expect((await page.goto(`${originOf(server)}/dashboard/${app.id}/settings`))?.status()).toBe(404);
  await page.context().clearCookies();
  await open(page, server, mara, "/wallet");
  await expect(page.getByText("No app is connected")).toBeVisible();
  await expect(page.getByRole("button", { name: /Test app.*gpt-4o-mini/s })).toHaveCount(1);
});

test("dialogs keep the focus, close with Escape and return the focus to the element that opened them", async ({
  page,
  postgresServer: server,
}) => {
  const { app, owner } = await arrange(server);
  await makeKey(server.db, app.id);
  const home = `/dashboard/${app.id}`;
  await open(page, server, owner, home);
  const dialog = page.getByRole("dialog");
  const button = (name: string) => page.getByRole("button", { name });
  const dialogs: [path: string, opener: Locator, item?: string][] = [
    ["/dashboard", button("New app")],
    [`${home}/api-keys`, button("New API key")],
    [`${home}/api-keys`, button("Change Test key"), "Roll"],
    [`${home}/api-keys`, button("Change Test key"), "Revoke"],
    [`${home}/settings`, button("Rotate secret")],
    [`${home}/settings`, button("Delete app")],
    [`${home}/webhooks`, button("New endpoint")],
  ];
  for (const [path, opener, item] of dialogs) {
    if (new URL(page.url()).pathname !== path) await page.goto(originOf(server) + path);
    await opener.press("Enter");
    if (item !== undefined) await page.getByRole("menuitem", { name: item }).press("Enter");
    await expect(dialog.locator(":focus")).toHaveCount(1);
    // Tab and Shift+Tab through the whole dialog and over its end.
    for (const key of ["Tab", "Shift+Tab"]) {
      const seen = new Set<string>();
      for (let step = 0; step < 40; step++) {
        await page.keyboard.press(key);
        const focused = await dialog.locator(":focus").evaluate((element) => element.outerHTML);
        if (seen.has(focused)) break;
        seen.add(focused);
      }
      expect(seen.size, `${path} ${item}`).toBeGreaterThan(1);
    }
    await page.keyboard.press("Escape");
    await expect(dialog).toBeHidden();
    await expect(opener).toBeFocused();
  }

  // A dialog with a secret that is shown once closes only by its button.
  await page.goto(`${originOf(server)}${home}/api-keys`);
  await button("New API key").press("Enter");
  await dialog.getByLabel("Name").fill("Production");
  await dialog.getByLabel("Name").press("Enter");
  await expect(dialog.getByText(/^sk-quota-/)).toBeVisible();
  await page.keyboard.press("Escape");
  await button("I have saved it").press("Enter");
  await expect(dialog).toBeHidden();
  await expect(button("New API key")).toBeFocused();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`axe finds nothing serious on the screens of an app, and nothing is cut off at 390 points, ${colorScheme}`, async ({
    browser,
    postgresServer: server,
  }) => {
    const { app, owner } = await arrange(server);
    const keys = [await makeKey(server.db, app.id), await makeKey(server.db, app.id, "user")];
    await server.db.prisma.apiKey.update({ where: { id: keys[0]?.id as string }, data: { revokedAt: new Date() } });
    const context = await browser.newContext({ colorScheme, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    const check = async () => {
      await expectNothingSerious(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), page.url()).toBe(true);
    };
    const home = `/dashboard/${app.id}`;
    await open(page, server, owner, "/dashboard");
    await check();
    await page.getByRole("button", { name: "New app" }).click();
    await check();

    await page.goto(`${originOf(server)}${home}/get-started`);
    await page.getByRole("button", { name: "Make a key" }).click();
    await expect(page.getByText(/^sk-quota-/)).toBeVisible();
    await check();

    await page.goto(`${originOf(server)}${home}/api-keys`);
    await check();
    await act(page, "Test key", "Roll");
    await expect(page.getByRole("dialog")).toBeVisible();
    await check();

    await page.goto(`${originOf(server)}${home}/settings`);
    await page.getByLabel("Only some").check();
    await page.getByLabel("Redirect URI 1", { exact: true }).fill("nonsense");
    await page.getByRole("button", { name: "Save settings" }).click();
    await expect(page.getByText("Write the whole address")).toBeVisible();
    await check();
    await page.getByRole("button", { name: "Delete app" }).click();
    await expect(page.getByRole("dialog")).toBeVisible();
    await check();
    await context.close();
  });
}

const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==", "base64");

/** A developer with an app and a password. */
async function arrange(server: PostgresServer) {
  const owner = await makePerson(server.db, { credits: 5_000_000n });
  return { owner, app: await makeApp(server.db, { ownerId: owner.id }) };
}

async function open(page: Page, server: PostgresServer, person: Person, to: string): Promise<void> {
  // The host that the authorization server's cookies belong to.
  await page.goto(`${originOf(server)}/sign-in?callbackUrl=${encodeURIComponent(to)}`);
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(originOf(server) + to);
  // A click before the scripts have loaded has no effect.
  await page.waitForLoadState("load");
}

async function act(page: Page, key: string, what: string): Promise<void> {
  await page.getByRole("button", { name: `Change ${key}` }).click();
  await page.getByRole("menuitem", { name: what }).click();
}

const ask = (server: PostgresServer, key: string) => call(server, "/v1/chat/completions", { key, body: chat("Hello") });

async function clientOf(server: PostgresServer, appId: string): Promise<Client> {
  const app = await server.db.prisma.app.findUniqueOrThrow({ where: { id: appId } });
  return { appId, clientId: app.clientId, secret: "", redirectUri: app.redirectUris[0] as string, key: "" };
}

/** The consent page in an element: its elements, texts and fields, without what differs between requests or renderings. */
async function sheetOf(page: Page, place: string): Promise<string> {
  return page
    .locator(`${place} > div`)
    .first()
    .evaluate((sheet) => {
      const lines: string[] = [];
      const read = (node: Node, depth: number): void => {
        const indent = "  ".repeat(depth);
        if (node instanceof Text) lines.push(indent + node.data);
        if (!(node instanceof HTMLElement || node instanceof SVGElement)) return;
        // The form's token and address, and React's ids, differ.
        const own = ["action", "id", "for", "aria-describedby", "aria-labelledby", "style"];
        const attributes = [...node.attributes]
          .filter(({ name }) => !own.includes(name) && !(name === "value" && node.getAttribute("name") === "token"))
          .map(({ name, value }) => `${name}=${value}`);
        const field = node instanceof HTMLInputElement && node.name !== "token" ? ` has ${node.value} ${node.checked}` : "";
        lines.push(`${indent}${node.tagName} ${attributes.sort().join(" ")}${field}`);
        for (const child of node.childNodes) read(child, depth + 1);
      };
      read(sheet, 0);
      return lines.join("\n");
    });
}

/** Runs a program in a folder with packages installed as `before` says, or the repository's; returns its output. */
async function runProgram(text: string, before?: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "quota-snippet-"));
  try {
    if (before !== undefined) await installAsWritten(before, folder);
    else await symlink(fileURLToPath(new URL("../../node_modules", import.meta.url)), path.join(folder, "node_modules"));
    await mkdir(path.join(folder, "src"));
    await writeFile(path.join(folder, "src", "first.mjs"), text);
    const ran = spawnSync(process.execPath, [path.join(folder, "src", "first.mjs")], { encoding: "utf8", timeout: 30_000 });
    expect(ran.stderr).toBe("");
    return ran.stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The code in the newest mail to an address in the server's output. */
async function codeFor(server: ServerProcess, email: string): Promise<string> {
  const code = () =>
    server
      .output()
      .stdout.split("\n  Mail to ")
      .filter((mail) => mail.startsWith(`${email}:`))
      .map((mail) => /Your code is (\d{4} \d{4})/.exec(mail)?.[1])
      .at(-1);
  await expect.poll(code).toBeDefined();
  return code() as string;
}
