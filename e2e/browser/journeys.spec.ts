import type { Page } from "@playwright/test";
import { call } from "../client.ts";
import { expect, test } from "../fixtures.ts";

test("a user sees the price of an app's request in the wallet, to the credit", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  const answer = await call(simulatedServer, "/v1/chat/completions", {
    key: demo.api_keys.developer,
    user: demo.user.external_user_id,
    body: { model: "gpt-4o", messages: [{ role: "user", content: "What does this cost?" }] },
  });
  const { quota } = answer.json as { quota: { credits_used: number } };
  const requestId = answer.headers.get("x-request-id") as string;

  await signIn(page, url, "/wallet", demo.user);
  await page
    .getByRole("button", { name: /Acme Chat.*gpt-4o /s })
    .first()
    .click();

  const receipt = page.getByRole("dialog", { name: "Receipt" });
  await expect(receipt).toContainText(`${quota.credits_used.toLocaleString("en-US")} credits went out`);
  await expect(receipt).toContainText(requestId);
});

test("a developer finds a request in the usage log by its user, with its tokens and price", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  const answer = await call(simulatedServer, "/v1/chat/completions", {
    key: demo.api_keys.user,
    user: demo.user.external_user_id,
    body: { model: "gpt-4.1", messages: [{ role: "user", content: "Find me again." }] },
  });
  await signIn(page, url, "/dashboard", demo.developer);
  await page.getByRole("link", { name: /Acme Chat/ }).click();
  await page.getByRole("link", { name: "Usage" }).click();
  await page.getByLabel("Model").selectOption("gpt-4.1");
  await page.getByLabel("External user id").fill(demo.user.external_user_id);
  await page.getByRole("button", { name: "Filter" }).click();
  await expect(page).toHaveURL(/gpt-4\.1/);
  await page
    .getByRole("table", { name: "Requests" })
    .getByRole("row", { name: /gpt-4\.1/ })
    .first()
    .getByRole("button")
    .first()
    .click();
  await expect(page.getByText(answer.headers.get("x-request-id") as string)).toBeVisible();
});

test("a signed-out user is asked to sign in and returns to the requested page", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  await page.goto(`${url}/wallet`);
  await expect(page).toHaveURL(/\/sign-in\?callbackUrl=/);
  await fillIn(page, demo.user);
  await expect(page).toHaveURL(`${url}/wallet`);
});

test("a sign-in never leads to another site", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  await page.goto(`${url}/sign-in?callbackUrl=${encodeURIComponent("https://evil.example/")}`);
  await fillIn(page, demo.user);
  await expect(page.getByRole("button", { name: "Sign out" })).toBeVisible();
  expect(new URL(page.url()).origin).toBe(url);
});

test("a wrong password and an unknown address get the same answer", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  const answers: string[] = [];
  for (const email of [demo.developer.email, "nobody@example.com"]) {
    await page.goto(`${url}/sign-in`);
    await fillIn(page, { email, password: "not the password" });
    await expect(page.getByRole("alert").filter({ hasText: /\w/ })).toBeVisible();
    answers.push(await page.getByRole("alert").filter({ hasText: /\w/ }).innerText());
  }
  expect(answers[0]).toBe(answers[1]);
});

test("another developer's app and a missing one get the same page", async ({ page, simulatedServer }) => {
  const { demo, url } = simulatedServer;
  await signIn(page, url, "/dashboard", demo.developer);
  await page.getByRole("link", { name: /Acme Chat/ }).click();
  await page.waitForURL(/\/dashboard\/[0-9a-f-]{36}/);
  const appId = /[0-9a-f-]{36}/.exec(page.url())?.[0] as string;
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("link", { name: "Sign in", exact: true })).toBeVisible();
  await signIn(page, url, "/dashboard", demo.user);
  const seen: (string | undefined)[] = [];
  for (const id of [appId, "01890000-0000-7000-8000-000000000000"]) {
    const response = await page.goto(`${url}/dashboard/${id}`);
    expect(response?.status()).toBe(404);
    seen.push(await page.getByRole("main").innerText());
  }
  expect(seen[0]).toBe(seen[1]);
});

test("the docs_url of an error leads to its heading", async ({ page, simulatedServer }) => {
  const answer = await call(simulatedServer, "/v1/users/nobody-is-linked-here", { key: simulatedServer.demo.api_keys.developer });
  const { docs_url: docsUrl } = (answer.json as { error: { docs_url: string } }).error;
  await page.goto(docsUrl);
  await expect(page.getByRole("heading", { name: "not_found", exact: true })).toBeInViewport();
});

test("pages can't be framed and load nothing from other sites", async ({ page, simulatedServer }) => {
  const { url } = simulatedServer;
  const foreign: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) foreign.push(request.url());
  });
  for (const path of ["/", "/sign-in", "/docs/errors"]) {
    const response = await page.goto(url + path);
    expect(response?.headers()["content-security-policy"]).toContain("frame-ancestors 'none'");
    expect(response?.headers()["x-frame-options"]).toBe("DENY");
  }
  expect(foreign).toEqual([]);
});

async function signIn(page: Page, url: string, path: string, person: { email: string; password: string }): Promise<void> {
  await page.goto(`${url}/sign-in?callbackUrl=${encodeURIComponent(path)}`);
  await fillIn(page, person);
  await expect(page).toHaveURL(url + path);
  // A click before the scripts have loaded has no effect.
  await page.waitForLoadState("load");
}

async function fillIn(page: Page, person: { email: string; password: string }): Promise<void> {
  await page.getByLabel("Email").fill(person.email);
  await page.getByLabel("Password").fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
}
