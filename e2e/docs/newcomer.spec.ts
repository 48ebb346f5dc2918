import { spawnSync } from "node:child_process";
import { expect, test } from "../fixtures.ts";

test("a new user who follows only the quickstart gets from no account to a billed request", async ({ page, simulatedServer: server }) => {
  test.setTimeout(90_000);
  const email = `${crypto.randomUUID()}@example.com`;
  await page.goto(server.url);
  await page.getByRole("link", { name: "Quickstart for developers" }).click();
  await expect(page.getByRole("heading", { name: "Quickstart", level: 1 })).toBeVisible();

  // 2. Sign up
  await page.getByRole("link", { name: "Make an account" }).click();
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByRole("button", { name: "Continue" }).click();
  await expect(page.getByLabel("Code")).toBeVisible();
  // The page says: "A server without mail settings writes the code of the sign-up mail to its output."
  const code = () => /Your code is (\d{4} \d{4})/.exec(server.output().stdout.split(`Mail to ${email}:`)[1] ?? "")?.[1];
  await expect.poll(code).toBeDefined();
  await page.getByLabel("Code").fill(code() as string);
  await page.getByRole("button", { name: "Open my wallet" }).click();
  await expect(page).toHaveURL(`${server.url}/wallet`);

  // 3. Make an app and a key, by the words in bold
  await page.goto(`${server.url}/docs/quickstart`);
  const bold = await page.getByRole("article").locator("strong").allInnerTexts();
  expect(bold.slice(0, 5)).toEqual(["New app", "API keys", "New API key", "Who pays", "Developer"]);
  await page.getByRole("article").getByRole("link", { name: "dashboard" }).click();
  await page.getByRole("button", { name: "New app" }).first().click();
  await page.getByLabel("Name").fill("My first app");
  await page.getByRole("button", { name: "Create app" }).click();
  await page.getByRole("button", { name: "I have saved it" }).click();
  await page.getByRole("link", { name: "API keys" }).click();
  await page.getByRole("button", { name: "New API key" }).first().click();
  await page.getByLabel("Name").fill("Quickstart");
  await page.getByRole("group", { name: "Who pays" }).getByText("Developer", { exact: true }).click();
  await page.getByRole("button", { name: "Make key" }).click();
  const key = await page.getByText(/^sk-quota-[0-9A-Za-z]{32}$/).innerText();
  await page.getByRole("button", { name: "I have saved it" }).click();

  // 4. Send a request, as it is on the page
  await page.goto(`${server.url}/docs/quickstart`);
  const command = await page.getByRole("tabpanel", { name: "curl" }).locator("pre").innerText();
  // The page shows the address that the server is configured with.
  expect(command).toContain(`${server.url.replace("127.0.0.1", "localhost")}/v1/chat/completions`);
  const { stdout } = spawnSync("bash", ["-c", command], { encoding: "utf8", env: { ...process.env, QUOTA_API_KEY: key } });
  const answer = JSON.parse(stdout);
  const cost: number = answer.quota.credits_used;
  expect(cost).toBeGreaterThan(0);
  expect(answer.quota).toEqual({ credits_used: cost, balance_after: 1_000_000 - cost, billing_mode: "developer" });

  // 5. See it
  await page.getByRole("article").getByRole("link", { name: "Your wallet" }).click();
  await page
    .getByRole("button", { name: /My first app.*gpt-4o-mini/s })
    .first()
    .click();
  await expect(page.getByRole("dialog", { name: "Receipt" })).toContainText(`${cost} credits went out`);
});
