import type { Locator, Page } from "@playwright/test";
import { expect, test } from "../app.ts";
import { expectNothingSerious } from "../axe.ts";
import { call, chat } from "../client.ts";
import { authorizeUrl, HOSTED, pkce, redeem, registerApp } from "../oauth.ts";

/** The whole journey from an app's button on, by a user without an account. */

type Hands = {
  press(target: Locator): Promise<void>;
  choose(item: Locator): Promise<void>;
  fill(field: Locator, text: string): Promise<void>;
};

const withAMouse = (): Hands => ({
  press: (target) => target.click(),
  choose: (item) => item.click(),
  fill: (field, text) => field.fill(text),
});

function withTheKeyboardOnly(page: Page): Hands {
  async function reach(target: Locator, key: "Tab" | "ArrowDown"): Promise<void> {
    await expect(target).toBeVisible();
    for (let step = 0; step < 100; step++) {
      if (await target.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press(key);
    }
    throw new Error(`${target} can't be reached with ${key}`);
  }
  return {
    async press(target) {
      await reach(target, "Tab");
      await page.keyboard.press("Enter");
    },
    async choose(item) {
      await reach(item, "ArrowDown");
      await page.keyboard.press("Enter");
    },
    async fill(field, text) {
      await reach(field, "Tab");
      await page.keyboard.press("ControlOrMeta+A");
      await page.keyboard.type(text);
    },
  };
}

for (const [how, handsOf] of [
  ["with a mouse", withAMouse],
  ["with the keyboard only", withTheKeyboardOnly],
] as const) {
  test(`a user signs up on the way, connects with a limit, is billed, reaches the limit, raises it and disconnects, ${how}`, async ({
    page,
    app,
    simulatedServer: server,
  }) => {
    const client = await registerApp(server, { name: "Journey Chat", redirectUris: [app.url], markupBps: 2_000 });
    const hands = handsOf(page);
    const button = (name: string) => page.getByRole("button", { name, exact: true });

    const { verifier, challenge } = pkce();
    await page.goto(authorizeUrl(server, client, challenge));
    await hands.press(page.getByRole("link", { name: "Make an account" }));
    await expect(page.getByRole("heading", { name: "Make an account" })).toBeVisible();
    await expectNothingSerious(page);
    const email = `${crypto.randomUUID()}@example.com`;
    await hands.fill(page.getByLabel("Email"), email);
    await hands.fill(page.getByLabel("Password"), "correct horse battery");
    await hands.press(button("Continue"));
    await expect(page.getByLabel("Code")).toBeVisible();
    await expectNothingSerious(page);
    const mailed = () => new RegExp(`Mail to ${email}:[^]*?Your code is (\\d{4} \\d{4})`).exec(server.output().stdout)?.[1];
    await expect.poll(mailed).toBeDefined();
    await hands.fill(page.getByLabel("Code"), mailed() as string);
    await hands.press(button("Open my wallet"));

    // Back on the consent page, with welcome credits.
    await expect(page.getByRole("heading", { name: "Journey Chat wants to use your wallet" })).toBeVisible();
    await expect(page.getByText(email)).toBeVisible();
    await expect(page.getByText("Your balance: $1.00")).toBeVisible();
    await hands.fill(page.getByLabel("Dollars a month"), "0.50");
    await hands.press(button("Allow"));
    await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();

    const code = new URL(page.url()).searchParams.get("code") as string;
    const externalUserId = `journey-${crypto.randomUUID()}`;
    const linked = await redeem(server, client, { code, verifier }, { ...HOSTED, external_user_id: externalUserId });
    expect(linked.json).toMatchObject({ external_user_id: externalUserId, user: { email } });
    const ask = (maxTokens: number) =>
      call(server, "/v1/chat/completions", {
        key: client.key,
        user: externalUserId,
        body: { ...chat("simulate: long 16000", { max_tokens: maxTokens }), model: "gpt-4o" },
      });
    const seen = async () => (await call(server, `/v1/users/${externalUserId}`, { key: client.key })).json;

    // Every request is billed exactly until the limit stops the next one.
    let billed = 0;
    let answer = await ask(16_000);
    expect(answer.status).toBe(200);
    for (let request = 0; request < 50 && answer.status === 200; request++) {
      billed += answer.json.quota.credits_used;
      answer = await ask(16_000);
    }
    expect([answer.status, answer.json.error.code]).toEqual([402, "spending_limit_reached"]);
    expect(billed).toBeGreaterThan(400_000);
    expect(billed).toBeLessThanOrEqual(500_000);
    expect(await seen()).toMatchObject({ limit: 500_000, spent: billed, user: { email, balance: 1_000_000 - billed } });

    // The user raises the limit, and requests succeed again.
    await page.goto(`${new URL(authorizeUrl(server, client, challenge)).origin}/wallet`);
    await expectNothingSerious(page);
    await hands.press(button("Change Journey Chat"));
    await hands.choose(page.getByRole("menuitem", { name: "Monthly limit" }));
    await expectNothingSerious(page);
    await hands.fill(page.getByLabel("Dollars a month"), "0.90");
    await hands.press(button("Save limit"));
    await expect(page.getByText("of $0.90 this month")).toBeVisible();
    const more = await ask(100);
    expect(more.status).toBe(200);
    expect(await seen()).toMatchObject({ limit: 900_000, spent: billed + more.json.quota.credits_used });

    // The user disconnects, and the app's id is unknown.
    await hands.press(button("Change Journey Chat"));
    await hands.choose(page.getByRole("menuitem", { name: "Disconnect" }));
    await expect(page.getByRole("dialog")).toBeVisible();
    await expectNothingSerious(page);
    await hands.press(page.getByRole("dialog").getByRole("button", { name: "Disconnect", exact: true }));
    await expect(page.getByRole("heading", { name: "No app is connected" })).toBeVisible();
    const gone = await ask(100);
    expect([gone.status, gone.json.error.code]).toEqual([404, "not_found"]);
    expect((await call(server, `/v1/users/${externalUserId}`, { key: client.key })).status).toBe(404);
  });
}
