import { expect, type PostgresServer, test } from "../fixtures.ts";
import { authorizeUrl, type Client, makeClient, makePerson, originOf, type Person, pkce, redeem, Visitor } from "../oauth.ts";

/** What apps can request of the sign-in (OpenID Connect Core §3.1.2.1). */

const allow = { decision: "allow", limited: "no" };
const again = (page: string) => `/sign-in?again=1&callbackUrl=${encodeURIComponent(page)}`;

/** A user who signed in a while ago. */
async function signedIn(server: PostgresServer): Promise<{ person: Person; client: Client; visitor: Visitor }> {
  const person = await makePerson(server.db);
  const visitor = new Visitor(server);
  await visitor.signIn(person);
  return { person, visitor, client: await makeClient(server.db) };
}

/** Moves the time at which a consent page's request began. */
async function beganLater(server: PostgresServer, client: Client, seconds: number): Promise<void> {
  const records = await server.db.prisma.oAuthRecord.findMany({
    where: { kind: "Interaction", payload: { path: ["params", "client_id"], equals: client.clientId } },
  });
  for (const { kind, idHash, createdAt } of records) {
    const moved = new Date(createdAt.getTime() + seconds * 1000);
    await server.db.prisma.oAuthRecord.update({ where: { kind_idHash: { kind, idHash } }, data: { createdAt: moved } });
  }
}

async function claimsOf(server: PostgresServer, client: Client, back: URL, verifier: string): Promise<{ auth_time?: number; sub: string }> {
  const answer = await redeem(server, client, { code: back.searchParams.get("code") as string, verifier });
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  return JSON.parse(Buffer.from(answer.json.id_token.split(".")[1], "base64url").toString());
}

for (const [what, over] of [
  ["prompt=login", { prompt: "login" }],
  ["prompt=login consent", { prompt: "login consent" }],
  ["max_age=0", { max_age: "0" }],
] as const) {
  test(`${what} forces a fresh sign-in, on the page and for its form, and auth_time is its time`, async ({ postgresServer: server }) => {
    const { person, client, visitor } = await signedIn(server);
    const { verifier, challenge } = pkce();
    const page = await visitor.begin(authorizeUrl(server, client, challenge, { scope: "openid", ...over }));
    expect((await visitor.get(page)).headers.get("location")).toBe(again(page));
    // The sign-in page does not redirect users who are signed in back to the request.
    const door = await visitor.get(again(page));
    expect(door.status).toBe(200);
    expect(await door.text()).toContain("Sign in again");

    const before = Math.floor(Date.now() / 1000);
    await visitor.signIn(person);
    const back = await visitor.decide(page);
    const claims = await claimsOf(server, client, back, verifier);
    expect(claims.sub).toBe(person.id);
    expect(claims.auth_time).toBeGreaterThanOrEqual(before);
    expect(claims.auth_time).toBeLessThanOrEqual(Math.floor(Date.now() / 1000));
  });
}

test("a form has no effect once the sign-in has become too old after its page was shown", async ({ postgresServer: server }) => {
  const { client, visitor } = await signedIn(server);
  const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge, { scope: "openid", max_age: "3600" }));
  const token = await visitor.token(page);
  await server.db.prisma.$executeRaw`UPDATE oauth_record SET payload = jsonb_set(payload::jsonb, '{params,max_age}', '0')
    WHERE kind = 'Interaction' AND payload::jsonb #>> '{params,client_id}' = ${client.clientId}`;
  const answer = await visitor.post(`${page}/decision`, { ...allow, token });
  expect(answer.headers.get("location")).toBe(page);
  expect((await visitor.get(page)).headers.get("location")).toBe(again(page));
  const grants = { kind: "Grant", payload: { path: ["clientId"], equals: client.clientId } };
  expect(await server.db.prisma.oAuthRecord.count({ where: grants })).toBe(0);
});

test("a sign-in within max_age is accepted, and auth_time is its time", async ({ postgresServer: server }) => {
  const before = Math.floor(Date.now() / 1000);
  const { client, visitor } = await signedIn(server);
  const after = Math.floor(Date.now() / 1000);
  const { verifier, challenge } = pkce();
  const page = await visitor.begin(authorizeUrl(server, client, challenge, { scope: "openid", max_age: "3600" }));
  const { auth_time } = await claimsOf(server, client, await visitor.decide(page), verifier);
  expect(auth_time).toBeGreaterThanOrEqual(before);
  expect(auth_time).toBeLessThanOrEqual(after);
});

test("a fresh sign-in counts for the request that asked for it, and not for the next one", async ({ postgresServer: server }) => {
  const { person, client, visitor } = await signedIn(server);
  const url = authorizeUrl(server, client, pkce().challenge, { scope: "openid", prompt: "login" });
  const first = await visitor.begin(url);
  await visitor.signIn(person);
  expect((await visitor.get(first)).status).toBe(200);
  const second = await visitor.begin(url);
  expect((await visitor.get(second)).headers.get("location")).toBe(again(second));
  // The request's time of beginning decides.
  await beganLater(server, client, 60);
  expect((await visitor.get(first)).headers.get("location")).toBe(again(first));
});

test("Cancel needs no sign-in", async ({ postgresServer: server }) => {
  const { person, client, visitor } = await signedIn(server);
  const page = await visitor.begin(authorizeUrl(server, client, pkce().challenge, { scope: "openid", prompt: "login" }));
  await visitor.signIn(person);
  const token = await visitor.token(page);
  await beganLater(server, client, 60);
  const back = await visitor.resume(await visitor.post(`${page}/decision`, { decision: "cancel", token }));
  expect(back.searchParams.get("error")).toBe("access_denied");
});

test("prompt=none answers login_required to the app when no user is signed in", async ({ postgresServer: server }) => {
  const client = await makeClient(server.db);
  for (const over of [{}, { scope: "openid" }, { scope: "openid", max_age: "0" }]) {
    const answer = await new Visitor(server).get(authorizeUrl(server, client, pkce().challenge, { prompt: "none", ...over }));
    const back = new URL(answer.headers.get("location") as string);
    expect([answer.status, back.origin + back.pathname]).toEqual([303, client.redirectUri]);
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error: "login_required", state: "the-state", iss: originOf(server) });
  }
});

test("prompt=none answers consent_required when a user is signed in, and login_required when the sign-in is too old", async ({
  postgresServer: server,
}) => {
  const { client, visitor } = await signedIn(server);
  const silent = async (over: Record<string, string>) => {
    const answer = await visitor.get(authorizeUrl(server, client, pkce().challenge, { prompt: "none", scope: "openid", ...over }));
    const back = new URL(answer.headers.get("location") as string);
    expect(back.origin + back.pathname).toBe(client.redirectUri);
    expect(back.searchParams.has("code")).toBe(false);
    return back.searchParams.get("error");
  };
  expect(await silent({})).toBe("consent_required");
  expect(await silent({ max_age: "3600" })).toBe("consent_required");
  expect(await silent({ max_age: "0" })).toBe("login_required");
  // Also after consent was given: every request needs consent.
  await visitor.decide(await visitor.begin(authorizeUrl(server, client, pkce().challenge, { scope: "openid" })));
  expect(await silent({})).toBe("consent_required");
});

test("prompt=select_account lets the user choose an account first, and continues with the chosen one", async ({
  postgresServer: server,
}) => {
  const { person, client, visitor } = await signedIn(server);
  const { verifier, challenge } = pkce();
  const page = await visitor.begin(authorizeUrl(server, client, challenge, { scope: "openid", prompt: "select_account" }));
  const choice = await (await visitor.get(page)).text();
  expect(choice).toContain("Which account should");
  expect(choice).toContain(person.email);
  expect(choice).not.toContain('name="token"');
  // Another account's id in the address is no choice.
  expect(await (await visitor.get(`${page}?as=${crypto.randomUUID()}`)).text()).toContain("Which account should");

  const token = await visitor.token(`${page}?as=${person.id}`);
  const back = await visitor.resume(await visitor.post(`${page}/decision`, { ...allow, token }));
  expect((await claimsOf(server, client, back, verifier)).sub).toBe(person.id);

  const other = await makePerson(server.db);
  const second = pkce();
  const next = await visitor.begin(authorizeUrl(server, client, second.challenge, { scope: "openid", prompt: "select_account" }));
  await visitor.signIn(other);
  // A user who has just signed in for the request has chosen.
  expect((await claimsOf(server, client, await visitor.decide(next), second.verifier)).sub).toBe(other.id);
});
