import AxeBuilder from "@axe-core/playwright";
import { Webhook } from "standardwebhooks";
import { makeApp } from "../../src/testing/makers.ts";
import { answer, startReceiver } from "../../src/testing/receiver.ts";
import { expect, test } from "../fixtures.ts";
import { makePerson, originOf } from "../oauth.ts";

test("an endpoint is added, tried, fails, is tried again, and removed", async ({ page, postgresServer: server, atTheEnd }, testInfo) => {
  const receiver = await startReceiver();
  atTheEnd.push(receiver.close);
  const owner = await makePerson(server.db);
  const app = await makeApp(server.db, { ownerId: owner.id });
  const serious = async () =>
    (await new AxeBuilder({ page }).analyze()).violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const look = async (name: string) => testInfo.attach(name, { body: await page.screenshot(), contentType: "image/png" });

  await page.goto(`${originOf(server)}/sign-in?callbackUrl=${encodeURIComponent(`/dashboard/${app.id}/webhooks`)}`);
  await page.getByLabel("Email").fill(owner.email);
  await page.getByLabel("Password").fill(owner.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "No endpoints yet" })).toBeVisible();
  await page.waitForLoadState("load");

  await page.getByRole("button", { name: "New endpoint" }).click();
  await page.getByLabel("Address").fill("ftp://example.com");
  await page.getByRole("button", { name: "Add endpoint" }).click();
  await expect(page.getByText("Write the whole address")).toBeVisible();
  expect(await serious()).toEqual([]);
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
  expect(await serious()).toEqual([]);
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

  await page.setViewportSize({ width: 390, height: 844 });
  expect(await serious()).toEqual([]);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
  await look("narrow");
  await page.getByRole("button", { name: "Remove" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill(new URL(receiver.url).host);
  await page.getByRole("button", { name: "Remove endpoint" }).click();
  await expect(page.getByRole("heading", { name: "No endpoints yet" })).toBeVisible();
});
