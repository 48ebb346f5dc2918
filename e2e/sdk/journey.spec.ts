import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { freePort } from "../../src/testing/postgres.ts";
import { chunk, delta, event, events } from "../../src/testing/upstream-answers.ts";
import { expectNothingSerious } from "../axe.ts";
import { call } from "../client.ts";
import { test as base, expect } from "../fixtures.ts";
import { type Client, makeClient, makePerson, originOf, type Person } from "../oauth.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The example app, on a server of its own. */
type Example = { url: string; client: Client; output(): string };

const test = base.extend<object, { example: Example }>({
  example: [
    async ({ postgresServer: server }, use) => {
      const port = await freePort();
      const url = `http://localhost:${port}`;
      const client = await makeClient(server.db, { redirectUris: [`${url}/api/quota/callback`], name: "Acme Chat" });
      const made = await call(server, "/v1/webhooks", {
        key: client.key,
        body: { url: `http://127.0.0.1:${port}/api/webhooks/quota`, events: ["user.connected", "user.disconnected", "usage.completed"] },
      });
      const child = spawn(process.execPath, [path.join(root, "node_modules/next/dist/bin/next"), "start", "--port", String(port)], {
        cwd: path.join(root, "examples/nextjs-chat"),
        stdio: "pipe",
        env: {
          PATH: process.env.PATH,
          NODE_ENV: "production",
          NEXT_TELEMETRY_DISABLED: "1",
          QUOTA_API_URL: originOf(server),
          QUOTA_API_KEY: client.key,
          QUOTA_CLIENT_ID: client.clientId,
          QUOTA_CLIENT_SECRET: client.secret,
          QUOTA_WEBHOOK_SECRET: made.json.secret ?? "",
          ACME_SESSION_SECRET: "of this test",
        } as unknown as NodeJS.ProcessEnv,
      });
      const output = await listening(child, url);
      await use({ url, client, output });
      child.kill("SIGTERM");
      await once(child, "close");
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

/** Waits until the app answers; returns a function for its output. */
async function listening(child: ChildProcess, url: string): Promise<() => string> {
  let output = "";
  child.stdout?.on("data", (text) => {
    output += text;
  });
  child.stderr?.on("data", (text) => {
    output += text;
  });
  await expect
    .poll(
      () => {
        if (child.exitCode !== null) throw new Error(`The example ended:\n${output}`);
        return fetch(url).then(
          ({ status }) => status,
          () => 0,
        );
      },
      { timeout: 30_000 },
    )
    .toBe(200);
  return () => output;
}

async function enter(page: Page, example: Example, name: string): Promise<void> {
  await page.goto(example.url);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
}

async function connect(page: Page, person: Person, limit: string): Promise<void> {
  await page.getByRole("button", { name: "Connect Wallet" }).click();
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByLabel("Dollars a month").fill(limit);
  await page.getByRole("button", { name: "Allow" }).click();
}

async function ask(page: Page, question: string): Promise<void> {
  await page.getByLabel("Your question").fill(question);
  await page.getByRole("button", { name: "Send" }).click();
}

const balanceOn = async (page: Page) => Number((await page.getByText(/^\$\d+\.\d{6}$/).innerText()).slice(1));

test("a user connects, spends, reaches the limit, raises it and disconnects; webhooks report it to the app", async ({
  page,
  postgresServer: server,
  example,
}) => {
  const person = await makePerson(server.db, { credits: 2_000_000n });
  await enter(page, example, "Ada");
  await expect(page.getByRole("heading", { name: "Connect your wallet to chat" })).toBeVisible();
  await expect(page.getByLabel("Your question")).toBeDisabled();
  await connect(page, person, "0.01");

  await expect(page).toHaveURL(`${example.url}/`);
  await expect(page.getByText("$2.000000")).toBeVisible();
  await ask(page, "How do wallets work?");
  await expect(page.getByText(/^gpt-4o-mini · \$0\.0000/)).toBeVisible();
  await expect.poll(() => balanceOn(page)).toBeLessThan(2);
  const after = await balanceOn(page);
  await page.getByLabel("Model").selectOption("gpt-4o");

  // The limit ends it, whatever the fake provider's answers cost.
  const stopped = page.getByRole("heading", { name: "You reached your monthly limit for this app" });
  const sent = page.getByRole("button", { name: "Send" });
  for (let question = 0; question < 60 && !(await stopped.isVisible()); question++) {
    await ask(page, `Question ${question}: ${"and more of it ".repeat(500)}`);
    await expect(sent).toBeVisible();
  }
  await expect(stopped).toBeVisible();
  expect(await balanceOn(page)).toBeLessThan(after);
  expect(await balanceOn(page)).toBeGreaterThanOrEqual(1.99);
  const waiting = page.getByText("Not answered yet:");
  await expect(waiting).toHaveCount(1);
  // A long conversation does not scroll the page around it.
  expect(await page.evaluate(() => document.documentElement.scrollHeight <= window.innerHeight)).toBe(true);

  await test.step("the question survives a reload, and is sent again after the limit was raised", async () => {
    await page.reload();
    await expect(stopped).toBeVisible();
    const [wallet] = await Promise.all([page.waitForEvent("popup"), page.getByRole("link", { name: "Open your wallet" }).click()]);
    await wallet.getByRole("button", { name: "Change Acme Chat" }).click();
    await wallet.getByRole("menuitem", { name: "Monthly limit" }).click();
    await wallet.getByLabel("Dollars a month").fill("1");
    await wallet.getByRole("button", { name: "Save limit" }).click();
    await expect(wallet.getByText("of $1.00 this month")).toBeVisible();
    await wallet.close();
    // The event of a tab that is shown again.
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await expect(waiting).toHaveCount(0);
    await expect(stopped).toHaveCount(0);
    await expect(page.getByText("of $1.00 this month")).toBeVisible();
  });

  await test.step("disconnecting asks for one confirmation, by keyboard too", async () => {
    await page.getByRole("button", { name: "Disconnect" }).focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("button", { name: "Yes, disconnect" })).toBeFocused();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("button", { name: "Connect Wallet" })).toBeVisible();
    expect(await server.db.prisma.linkedUser.count({ where: { appId: example.client.appId, externalUserId: "acme_ada" } })).toBe(0);
  });

  await test.step("the app received an event for each of these", async () => {
    await page.getByText("Webhooks that this app received about you").click();
    const news = page.getByRole("list", { name: "Webhooks" });
    await expect(news.getByText("user.connected")).toBeVisible();
    await expect(news.getByText("usage.completed").first()).toBeVisible();
    await expect(news.getByText("the connection ended (app)")).toBeVisible();
  });
});

test("denying consent shares nothing, and an unsigned webhook is refused", async ({ page, postgresServer: server, example }) => {
  const person = await makePerson(server.db);
  await enter(page, example, "Bob");
  await page.getByRole("button", { name: "Connect Wallet" }).click();
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByText("You did not connect your wallet. Nothing was shared.")).toBeVisible();
  await expect(page).toHaveURL(`${example.url}/`);
  const forged = await fetch(`${example.url}/api/webhooks/quota`, {
    method: "POST",
    body: '{"id":"evt_1","type":"user.connected","data":{}}',
  });
  expect(forged.status).toBe(400);
});

test("a user without credits tops up, returns, and the waiting question is answered; then the user stops an answer, and disconnects at Quota", async ({
  page,
  postgresServer: server,
  upstream,
  example,
}) => {
  const person = await makePerson(server.db, { credits: 3n });
  await enter(page, example, "Cleo");
  await connect(page, person, "5");
  await ask(page, "What waits for credits?");
  await expect(page.getByRole("heading", { name: "Your wallet is out of credits" })).toBeVisible();
  await page.getByRole("button", { name: "Add $5.00" }).click();
  await expect(page.getByText("Sandbox: no money moves.")).toBeVisible();
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page).toHaveURL(`${example.url}/`);
  await expect(page.getByText(/^gpt-4o-mini · \$0\.0000/)).toBeVisible();
  await expect(page.getByText("What waits for credits?", { exact: true })).toHaveCount(1);
  await expect(page.getByText("Not answered yet:")).toHaveCount(0);
  await expect.poll(() => balanceOn(page)).toBeGreaterThan(4.9);

  await test.step("stopping an answer aborts the upstream request, and is no error in the app", async () => {
    const marker = crypto.randomUUID();
    const answer = upstream.on(
      marker,
      events(
        (async function* () {
          yield event(chunk([delta({ role: "assistant", content: "It begins" })]));
          await new Promise(() => {});
        })(),
      ),
    );
    await ask(page, `Tell me a long story. ${marker}`);
    await expect(page.getByText("It begins")).toBeVisible();
    await page.getByRole("button", { name: "Stop" }).click();
    expect(await (await answer.next()).ended).toBe("aborted");
    // Later requests have the marker in their history.
    answer[Symbol.dispose]();
    await ask(page, "And a short one?");
    await expect(page.getByText("And a short one?", { exact: true })).toBeVisible();
    await expect(page.getByRole("button", { name: "Send" })).toBeVisible();
    expect(example.output()).not.toMatch(/abort|error/i);
  });

  await test.step("the app finds a link that was ended at Quota, says so, and keeps the question", async () => {
    const ended = await call(server, "/v1/users/acme_cleo/link", { key: example.client.key, method: "DELETE" });
    expect(ended.json).toEqual({ success: true });
    await ask(page, "Are you still there?");
    await expect(page.getByText("Your wallet is not connected any more. Connect it again to go on.")).toBeVisible();
    await expect(page.getByRole("button", { name: "Connect Wallet" })).toBeVisible();
    await page.getByRole("button", { name: "Connect Wallet" }).click();
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page).toHaveURL(`${example.url}/`);
    await expect(page.getByLabel("Your question")).toHaveValue("Are you still there?");
  });
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`axe finds nothing serious in the example, ${colorScheme}, on a narrow screen`, async ({
    browser,
    postgresServer: server,
    example,
  }) => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 390, height: 844 } });
    const page = await context.newPage();
    await page.goto(example.url);
    await expectNothingSerious(page);
    await enter(page, example, `Axe ${colorScheme}`);
    await expect(page.getByRole("button", { name: "Connect Wallet" })).toBeVisible();
    await expectNothingSerious(page);
    // Less than any answer costs.
    await connect(page, await makePerson(server.db, { credits: 3n }), "5");
    await ask(page, "Hello?");
    await expect(page.getByRole("heading", { name: "Your wallet is out of credits" })).toBeVisible();
    await expect(page.getByText("Loading packages…")).toHaveCount(0);
    await expectNothingSerious(page);
    await page.getByRole("button", { name: "Disconnect" }).click();
    await expectNothingSerious(page);
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing is cut off").toBe(true);
    await context.close();
  });
}
