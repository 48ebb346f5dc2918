import { idIn, startFakeStripe } from "../../src/testing/fake-stripe.ts";
import { makeKey, makeLink, makeToken } from "../../src/testing/makers.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { makePerson, originOf, Visitor } from "../oauth.ts";
import { arrange } from "../world.ts";

const FIVE = { package_id: "usd_5" };

test("packages are those of the server's configuration, for every user", async ({ start }) => {
  const server = await start({ env: { QUOTA_PACKAGES: "20, 2.50" } });
  expect((await call(server, "/v1/packages")).json.data).toEqual([
    { id: "usd_2.50", credits: 2_500_000, price_cents: 250, currency: "usd" },
    { id: "usd_20", credits: 20_000_000, price_cents: 2_000, currency: "usd" },
  ]);
});

test("without Stripe there is no checkout in production on Postgres, unless the operator says so", async ({ start, ownDatabase }) => {
  const server = await start({ databaseUrl: ownDatabase.url });
  const world = await arrange(ownDatabase.db);
  const answer = await call(server, "/v1/checkout", { ...world.as, body: FIVE });
  expect([answer.status, answer.json.error.code]).toEqual([503, "payments_unavailable"]);
});

test("a checkout fills the wallet that the credential pays from, and returns only to addresses of the app", async ({
  start,
  ownDatabase,
}) => {
  const { db, url } = ownDatabase;
  const server = await start({ databaseUrl: url, env: { QUOTA_SANDBOX_CHECKOUT: "on" } });
  const world = await arrange(db, { billingMode: "developer" });
  await db.prisma.app.update({
    where: { id: world.app.id },
    data: { siteUrl: "https://acme.chat", redirectUris: ["https://app.acme.chat/callback"] },
  });
  const [userKey, testKey] = [await makeKey(db, world.app.id, "user"), await makeKey(db, world.app.id, "test")];
  const open = (options: Parameters<typeof call>[2], body: object = FIVE) => call(server, "/v1/checkout", { body, ...options });
  const ownerOf = async (checkout: string) =>
    (await db.prisma.payment.findUniqueOrThrow({ where: { id: checkout.split("/").at(-1) as string } })).userId;

  // The wallet.
  const { token } = await makeToken(db, world.link);
  expect(await ownerOf((await open(world.as)).json.url)).toBe(world.user.id);
  expect(await ownerOf((await open({ key: userKey.secret, user: world.as.user })).json.url)).toBe(world.user.id);
  expect(await ownerOf((await open({ key: world.as.key })).json.url)).toBe(world.developer.id);
  expect(await ownerOf((await open({ key: token })).json.url)).toBe(world.user.id);
  const code = async (answer: ReturnType<typeof open>) => (await answer).json.error.code;
  expect(await code(open({ key: userKey.secret }))).toBe("user_required");
  expect(await code(open({ key: testKey.secret, user: world.as.user }))).toBe("bad_request");
  expect(await code(open({ key: world.as.key, user: "nobody" }))).toBe("not_found");
  expect(await code(open({ key: (await makeToken(db, world.link, { scope: "credits.read" })).token }))).toBe("insufficient_scope");

  // The package and the return address.
  expect((await open(world.as, { package_id: "usd_6" })).json.error.param).toBe("package_id");
  expect((await open(world.as, { ...FIVE, amount: 1 })).json.error.param).toBe("amount");
  for (const return_url of ["https://acme.chat/back?x=1", "https://app.acme.chat/", `${originOf(server)}/wallet`, "/wallet"])
    expect((await open(world.as, { ...FIVE, return_url })).status, return_url).toBe(200);
  for (const return_url of [
    "https://evil.example/",
    "https://acme.chat.evil.example/",
    "http://acme.chat/",
    "https://acme.chat@evil.example/",
    "https://user@acme.chat/",
    "//evil.example/",
    "/\\evil.example",
    "javascript:alert(1)",
    "acme.chat",
  ])
    expect((await open(world.as, { ...FIVE, return_url })).json.error?.param, return_url).toBe("return_url");

  // One Idempotency-Key opens one checkout.
  const once = { ...world.as, headers: { "idempotency-key": crypto.randomUUID() } };
  expect((await open(once)).json.url).toBe((await open(once)).json.url);
});

test("the sandbox checkout is open to its user only, credits once, and accepts only its own form", async ({ start, ownDatabase }) => {
  const { db, url } = ownDatabase;
  const server = await start({ databaseUrl: url, pages: true, env: { QUOTA_SANDBOX_CHECKOUT: "on" } });
  const world = await arrange(db);
  const [owner, stranger] = [await makePerson(db, { credits: 0n }), await makePerson(db)];
  await db.prisma.linkedUser.delete({ where: { id: world.link.id } });
  await makeLink(db, world.app.id, owner, { externalUserId: world.link.externalUserId });
  const checkout = async () => {
    const answer = await call(server, "/v1/checkout", { ...world.as, body: { ...FIVE, return_url: "http://localhost:4000/back" } });
    return new URL(answer.json.url).pathname;
  };
  const balance = async () => (await call(server, "/v1/balance", world.as)).json.balance;
  const page = await checkout();

  const other = new Visitor(server);
  await other.signIn(stranger);
  expect(await (await other.get(page)).text()).toContain("There is no checkout here for you");
  const me = new Visitor(server);
  expect((await me.get(page)).headers.get("location")).toContain("/sign-in");
  await me.signIn(owner);
  const token = /name="token" value="([^"]+)"/.exec(await (await me.get(page)).text())?.[1] as string;

  const refused = [
    await me.post(`${page}/pay`, { answer: "pay" }),
    await me.post(`${page}/pay`, { answer: "pay", token: "x".repeat(43) }),
    await me.post(`${page}/pay`, { answer: "pay", token }, { origin: "https://evil.example" }),
    await me.post(`${page}/pay`, { answer: "pay", token }, { "sec-fetch-site": "cross-site" }),
    await other.post(`${page}/pay`, { answer: "pay", token }),
    await me.post(`${await checkout()}/pay`, { answer: "pay", token }),
    await new Visitor(server).post(`${page}/pay`, { answer: "pay", token }),
  ];
  expect(refused.map(({ headers }) => headers.get("location")).filter((location) => location?.includes("quota_checkout"))).toEqual([]);
  expect(await balance()).toBe(0);

  const paid = await Promise.all([1, 2, 3].map(() => me.post(`${page}/pay`, { answer: "pay", token })));
  expect(paid.map(({ headers }) => headers.get("location"))).toEqual(paid.map(() => "http://localhost:4000/back?quota_checkout=paid"));
  expect(await balance()).toBe(5_000_000);

  const given = await checkout();
  const itsToken = /name="token" value="([^"]+)"/.exec(await (await me.get(given)).text())?.[1] as string;
  expect((await me.post(`${given}/pay`, { answer: "cancel", token: itsToken })).headers.get("location")).toContain(
    "quota_checkout=cancelled",
  );
  expect((await me.post(`${given}/pay`, { answer: "pay", token: itsToken })).headers.get("location")).toContain("quota_checkout=cancelled");
  expect(await balance()).toBe(5_000_000);
});

for (const home of ["the embedded database", "Postgres"]) {
  test(`on ${home}, payments whose events come while the server is killed and starts again are credited exactly once`, async ({
    start,
    ownDatabase,
    atTheEnd,
  }) => {
    test.slow();
    const stripe = await startFakeStripe();
    atTheEnd.push(() => stripe.close());
    const options = { pages: true, env: stripe.env, ...(home === "Postgres" ? { databaseUrl: ownDatabase.url } : {}) };
    let server: ServerProcess = await start(options);
    const as = { key: server.demo.api_keys.developer, user: server.demo.user.external_user_id };
    const before = (await call(server, "/v1/balance", as)).json.balance;

    const CHECKOUTS = 12;
    const events = (
      await Promise.all(
        Array.from({ length: CHECKOUTS }, async () => {
          const { url } = (await call(server, "/v1/checkout", { ...as, body: FIVE })).json as { url: string };
          return stripe.pay(url.split("/").at(-1) as string);
        }),
      )
    ).flat();
    // One payment's refund comes before its payment.
    events.unshift(...stripe.refund(idIn(events[0]), 200).events);

    let taken = 0;
    let again: (() => void) | undefined;
    const restarted = new Promise<void>((resolve) => {
      again = resolve;
    });
    /** Sends an event until it is accepted, and in some cases once more, as Stripe does. */
    async function tell(event: (typeof events)[number], times: number): Promise<void> {
      for (let told = 0; told < times; ) {
        const answer = await stripe.deliver(event, `${server.url}/api/stripe/webhook`).catch(() => null);
        if (answer === null) await restarted;
        else if (answer.status === 200) {
          told++;
          taken++;
        }
      }
    }
    const telling = Promise.all(events.map((event, index) => tell(event, 1 + (index % 2))));
    await expect.poll(() => taken, { intervals: [5] }).toBeGreaterThan(3);
    const dataDir = server.dataDir;
    await server.kill9();
    server = await start({ ...options, dataDir });
    again?.();
    await telling;
    await Promise.all(events.toReversed().map((event) => tell(event, 1)));
    expect((await call(server, "/v1/balance", as)).json.balance).toBe(before + CHECKOUTS * 5_000_000 - 2_000_000);
  });
}

test("a request of a frozen wallet is refused with the reason", async ({ start, ownDatabase, atTheEnd, upstream }) => {
  const { db, url } = ownDatabase;
  const stripe = await startFakeStripe();
  atTheEnd.push(() => stripe.close());
  const server = await start({ databaseUrl: url, pages: true, upstream, env: stripe.env });
  const world = await arrange(db, { balance: 0n });
  const topUp = async () => {
    const { url } = (await call(server, "/v1/checkout", { ...world.as, body: FIVE })).json as { url: string };
    const events = stripe.pay(url.split("/").at(-1) as string);
    for (const event of events) expect((await stripe.deliver(event, `${server.url}/api/stripe/webhook`)).status).toBe(200);
    return idIn(events[0]);
  };
  const ask = () => call(server, "/v1/chat/completions", { ...world.as, body: chat("Hello") });
  expect((await ask()).json.error.message).toContain("Add credits to continue");
  const intent = await topUp();
  expect((await ask()).status).toBe(200);
  for (const event of stripe.refund(intent, 500).events) await stripe.deliver(event, `${server.url}/api/stripe/webhook`);
  const refused = await ask();
  expect([refused.status, refused.json.error.code]).toEqual([402, "insufficient_credits"]);
  expect(refused.json.error.message).toContain("This wallet is frozen: a refund or dispute left $0.000005 open.");
  await topUp();
  expect((await ask()).status).toBe(200);
});
