import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "@playwright/test";
import { startFakeStripe } from "../../src/testing/fake-stripe.ts";
import { makeLink } from "../../src/testing/makers.ts";
import { expectNothingSerious } from "../axe.ts";
import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { authorizeUrl, HOSTED, makeClient, makePerson, originOf, type Person, pkce, redeem } from "../oauth.ts";

async function signIn(page: Page, person: Person): Promise<void> {
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

test("in the sandbox: a user without credits adds some in the wallet or on the consent page, and the same message succeeds", async ({
  page,
  start,
  ownDatabase,
  atTheEnd,
  upstream,
}) => {
  test.slow();
  const { db, url } = ownDatabase;
  const server = await start({ databaseUrl: url, pages: true, upstream, env: { QUOTA_SANDBOX_CHECKOUT: "on" } });
  const app = createServer(
    (_request, response) => void response.setHeader("content-type", "text/html").end("<title>App</title><h1>Back in the app</h1>"),
  );
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  atTheEnd.push(async () => {
    app.closeAllConnections();
    app.close();
  });
  const back = `http://localhost:${(app.address() as AddressInfo).port}/callback`;
  const origin = originOf(server);

  // In the wallet.
  const mara = await makePerson(db, { credits: 0n });
  const client = await makeClient(db, { redirectUris: [back], name: "Acme Chat" });
  const link = await makeLink(db, client.appId, mara);
  const ask = (user: string) => call(server, "/v1/chat/completions", { key: client.key, user, body: chat("Hello") });
  expect((await ask(link.externalUserId)).json.error.code).toBe("insufficient_credits");
  await page.goto(`${origin}/wallet`);
  await signIn(page, mara);
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.getByText("no money moves")).toBeVisible();
  await page.getByRole("radio", { name: "$5.00" }).check();
  await expectNothingSerious(page);
  await page.getByRole("button", { name: "Continue to checkout" }).click();
  await expect(page.getByText("Sandbox: no money moves.")).toBeVisible();
  await expectNothingSerious(page);
  const checkout = page.url();
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.getByText("The credits are in your wallet.")).toBeVisible();
  await expect(page.getByRole("main")).toContainText("$5.00");
  await expect(page).toHaveURL(`${origin}/wallet`);
  await page.reload();
  await expect(page.getByRole("main")).toContainText("$5.00");
  await expect(page.getByText("The credits are in your wallet.")).toHaveCount(0);
  expect((await ask(link.externalUserId)).status).toBe(200);
  await page.goto(checkout);
  await expect(page.getByRole("heading", { name: "These credits were added" })).toBeVisible();

  // The receipt, and no automatic top-ups without a card.
  await page.getByRole("link", { name: "Go to your wallet" }).click();
  const receipt = page.getByRole("link", { name: "Receipt to print" });
  await expect(async () => {
    await page.getByRole("button", { name: /Credits added/ }).click({ timeout: 2_000 });
    await expect(receipt).toBeVisible({ timeout: 2_000 });
  }).toPass();
  await receipt.click();
  await expect(page.getByRole("heading", { name: "Receipt" })).toBeVisible();
  await expect(page.getByRole("main")).toContainText("no money moved");
  await page.getByRole("link", { name: "Top-ups", exact: true }).click();
  await expect(page.getByText("they need a payment provider")).toBeVisible();
  await page.getByRole("checkbox", { name: /Mail me when my balance is low/ }).uncheck();
  await expect.poll(async () => (await db.prisma.billing.findUnique({ where: { userId: mara.id } }))?.lowBalanceMail).toBe(false);
  await expectNothingSerious(page);

  // An app's own checkout returns to the app.
  const { url: opened } = (
    await call(server, "/v1/checkout", { key: client.key, user: link.externalUserId, body: { package_id: "usd_10", return_url: back } })
  ).json;
  await page.goto(opened);
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
  expect(new URL(page.url()).searchParams.get("quota_checkout")).toBe("paid");

  // On the consent page.
  await page.context().clearCookies();
  const jo = await makePerson(db, { credits: 0n });
  const { verifier, challenge } = pkce();
  await page.goto(authorizeUrl(server, client, challenge));
  await signIn(page, jo);
  await page.getByRole("link", { name: "add credits" }).click();
  await page.getByRole("radio", { name: "$10.00" }).check();
  await page.getByRole("button", { name: "Continue to checkout" }).click();
  await page.getByRole("button", { name: "Add credits" }).click();
  await expect(page.getByText("Your balance: $10.00")).toBeVisible();
  await page.getByRole("button", { name: "Allow" }).click();
  await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
  const code = new URL(page.url()).searchParams.get("code") as string;
  await redeem(server, client, { code, verifier }, { ...HOSTED, external_user_id: "jo" });
  expect((await ask("jo")).status).toBe(200);
});

test("with Stripe: a user pays on its page, returns to the credits, and a saved card tops up automatically", async ({
  page,
  start,
  ownDatabase,
  atTheEnd,
  upstream,
}) => {
  test.slow();
  const { db, url } = ownDatabase;
  const stripe = await startFakeStripe();
  atTheEnd.push(() => stripe.close());
  const server = await start({ databaseUrl: url, pages: true, upstream, env: { ...stripe.env, QUOTA_SANDBOX_CHECKOUT: "on" } });
  const origin = originOf(server);
  const mara = await makePerson(db, { credits: 0n });
  const client = await makeClient(db);
  const link = await makeLink(db, client.appId, mara);
  const ask = () => call(server, "/v1/chat/completions", { key: client.key, user: link.externalUserId, body: chat("Hello") });
  expect((await ask()).status).toBe(402);

  // Stripe's event has not come when the user returns.
  await page.goto(`${origin}/wallet`);
  await signIn(page, mara);
  await page.getByRole("button", { name: "Add credits" }).click();
  await page.getByRole("radio", { name: "$5.00" }).check();
  await page.getByRole("button", { name: "Continue to checkout" }).click();
  await expect(page.getByRole("heading", { name: "Pay $5.00" })).toBeVisible();
  await page.getByRole("button", { name: "Pay" }).click();
  await expect(page.getByText("The credits are in your wallet.")).toBeVisible();
  expect((await ask()).status).toBe(200);

  // With Stripe there is no sandbox checkout, whatever its setting.
  const { id } = await db.prisma.payment.findFirstOrThrow({ where: { userId: mara.id } });
  await page.goto(`${origin}/checkout/${id}`);
  await expect(page.getByRole("heading", { name: "There is no checkout here for you" })).toBeVisible();

  // Automatic top-ups, with events by webhook.
  stripe.webhookUrl = `${server.url}/api/stripe/webhook`;
  await page.goto(`${origin}/wallet/top-ups`);
  await page.getByRole("button", { name: "Set up" }).click();
  await page.getByLabel("When below").fill("50");
  await page.getByRole("button", { name: "Pay $10.00 and turn on" }).click();
  await expect(page.getByText("Choose a balance that one top-up can reach.")).toBeVisible();
  await page.getByLabel("When below").fill("4");
  await page.getByLabel("At most a month").fill("20");
  await expectNothingSerious(page);
  await page.getByRole("button", { name: "Pay $10.00 and turn on" }).click();
  await page.getByRole("button", { name: "Pay" }).click();
  await expect(page.getByText("Visa •••• 4242").first()).toBeVisible();
  await expect(page.getByText("Below $4.00 add $10.00, at most $20.00 a month")).toBeVisible();
  const before = await db.prisma.payment.count({ where: { userId: mara.id, status: "paid" } });
  expect(before).toBe(2);

  // The balance falls, and the server's job tops up.
  const { transfer } = await import("../../src/server/ledger/transfer.ts");
  const { platformAccount } = await import("../../src/server/ledger/accounts.ts");
  const { newId } = await import("../../src/server/platform/ids.ts");
  const spend = {
    id: newId(),
    debitId: mara.walletId,
    creditId: platformAccount.revenue,
    amount: 12_000_000n,
    reason: "correction" as const,
  };
  expect(await transfer(db.sql, spend)).toBe("applied");
  await expect
    .poll(() => db.prisma.payment.count({ where: { userId: mara.id, automatic: true, status: "paid" } }), { timeout: 20_000 })
    .toBe(1);
  await page.reload();
  await expect(page.getByText("Automatic top-up", { exact: true })).toBeVisible();

  // A refund stops automatic top-ups.
  const { intent } = await db.prisma.payment.findFirstOrThrow({ where: { userId: mara.id, automatic: true }, include: { intent: true } });
  for (const event of stripe.refund(intent?.id as string, 1_000).events)
    expect((await stripe.deliver(event, stripe.webhookUrl)).status).toBe(200);
  await page.reload();
  await expect(page.getByText("A top-up was refunded. No card is charged by itself until you turn them on again.")).toBeVisible();
  await expectNothingSerious(page);
  await page.getByRole("button", { name: "Turn off" }).click();
  await expect(page.getByText("They are off")).toBeVisible();
  await page.getByRole("button", { name: "Remove card" }).click();
  await expect(page.getByRole("button", { name: "Remove card" })).toBeHidden();
  expect(stripe.calls.at(-1)?.path).toMatch(/\/detach$/);
});
