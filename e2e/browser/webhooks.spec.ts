import type { Page } from "@playwright/test";
import { Webhook } from "standardwebhooks";
import { makeApp } from "../../src/testing/makers.ts";
import { answer, startReceiver } from "../../src/testing/receiver.ts";
import { expectNothingSerious } from "../axe.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { makePerson, originOf, type Person } from "../oauth.ts";

test("an endpoint of another developer's app and a missing one get the same 404", async ({ page, postgresServer: server }) => {
  const [owner, stranger] = [await makePerson(server.db), await makePerson(server.db)];
  const [app, other] = [await makeApp(server.db, { ownerId: owner.id }), await makeApp(server.db, { ownerId: stranger.id })];
  const { id } = await server.db.prisma.webhookEndpoint.create({
    data: { appId: other.id, url: "https://stranger.example/hook", events: ["user.linked"], secret: Buffer.alloc(1) },
  });
  const missing = "01890000-0000-7000-8000-000000000000";
  const seen = new Map<string, string>();
  await signIn(page, server, owner, `/dashboard/${app.id}/webhooks`);
  for (const path of [
    `${app.id}/webhooks/${id}`,
    `${app.id}/webhooks/${missing}`,
    `${other.id}/webhooks/${id}`,
    `${missing}/webhooks/${id}`,
  ]) {
    const response = await page.goto(`${originOf(server)}/dashboard/${path}`);
    expect(response?.status()).toBe(404);
    // Before hydration the page has the title of the not-found page.
    await expect(page).toHaveTitle(path.startsWith(app.id) ? "Endpoint · Test app · Quota" : "No such app · Quota");
    seen.set(path, `${await page.title()}\n${await page.getByRole("main").innerText()}`);
    expect(await page.content()).not.toContain("stranger.example");
  }
  const [here, nowhere, there, nobodys] = [...seen.values()];
  expect(here).toBe(nowhere);
  expect(there).toBe(nobodys);
});

test("an endpoint is added, tested, fails, is tested again, and removed", async ({ page, postgresServer: server, atTheEnd }, testInfo) => {
  const receiver = await startReceiver();
  atTheEnd.push(receiver.close);
  const owner = await makePerson(server.db);
  const app = await makeApp(server.db, { ownerId: owner.id });
  const look = async (name: string) => testInfo.attach(name, { body: await page.screenshot(), contentType: "image/png" });

  await signIn(page, server, owner, `/dashboard/${app.id}/webhooks`);
  await expect(page.getByRole("heading", { name: "No endpoints yet" })).toBeVisible();
  await page.waitForLoadState("load");

  await page.getByRole("button", { name: "New endpoint" }).click();
  await page.getByLabel("Address").fill("ftp://example.com");
  await page.getByRole("button", { name: "Add endpoint" }).click();
  // The form is longer than the window: the refused field is scrolled into view.
  await expect(page.getByRole("alert").filter({ hasText: "Write the whole address" })).toBeInViewport();
  await expect(page.getByLabel("Address")).toBeFocused();
  await expectNothingSerious(page);
  await look("new endpoint");
  await page.getByLabel("Address").fill(`${receiver.url}/hook`);
  await page.getByRole("button", { name: "Add endpoint" }).click();
  const secret = await page.getByText(/^whsec_/).innerText();
  await page.getByRole("button", { name: "Done" }).click();
  await expect(page.getByRole("heading", { name: `${receiver.url}/hook` })).toBeVisible();

  await page.getByRole("button", { name: "Send a test event" }).click();
  await page.getByLabel("Event").last().selectOption("balance.low");
  await page.getByRole("button", { name: "Send event" }).click();
  await expect(page.getByRole("row", { name: /balance\.low/ })).toContainText("Arrived");
  const [first] = receiver.at("/hook");
  expect(new Webhook(secret).verify(first?.body ?? "", first?.headers ?? {})).toMatchObject({ type: "balance.low" });

  receiver.behave("/hook", answer(500, "out of order"));
  await page.getByRole("button", { name: "Send a test event" }).click();
  await page.getByLabel("Event").last().selectOption("usage.completed");
  await page.getByRole("button", { name: "Send event" }).click();
  const failing = page.getByRole("row", { name: /usage\.completed/ });
  await expect(failing).toContainText("To be repeated");
  await look("deliveries");
  await failing.getByRole("button").click();
  const record = page.getByRole("dialog", { name: "Delivery" });
  await record.getByText("answered 500").click();
  await expect(record.getByText("out of order")).toBeVisible();
  await expectNothingSerious(page);
  await look("record");
  receiver.behave("/hook", answer(204));
  await record.getByRole("button", { name: "Send it again now" }).click();
  await expect(record.getByText("Arrived")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(failing).toContainText("Arrived");

  await page.getByRole("button", { name: "Rotate secret" }).click();
  await page.getByRole("button", { name: "Make a new secret" }).click();
  expect(await page.getByText(/^whsec_/).innerText()).not.toBe(secret);
  await page.getByRole("button", { name: "Done" }).click();
  await expect(page.getByText("The former secret signs too until")).toBeVisible();

  // A threshold from the API, with more decimals than can be typed, does not prevent saving.
  await server.db.prisma.webhookEndpoint.updateMany({ where: { appId: app.id }, data: { balanceLowThreshold: 12_345n } });
  await page.reload();
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Description").fill("Accounting");
  await page.getByRole("button", { name: "Save endpoint" }).click();
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect
    .poll(() =>
      server.db.prisma.webhookEndpoint.findFirst({ where: { appId: app.id }, select: { description: true, balanceLowThreshold: true } }),
    )
    .toEqual({ description: "Accounting", balanceLowThreshold: 12_345n });

  await page.setViewportSize({ width: 390, height: 844 });
  await expectNothingSerious(page);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
  await look("narrow");
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill(new URL(receiver.url).host);
  await page.getByRole("button", { name: "Remove endpoint" }).click();
  await expect(page.getByRole("heading", { name: "No endpoints yet" })).toBeVisible();
});

async function signIn(page: Page, server: PostgresServer, person: Person, to: string): Promise<void> {
  await page.goto(`${originOf(server)}/sign-in?callbackUrl=${encodeURIComponent(to)}`);
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(originOf(server) + to);
}
