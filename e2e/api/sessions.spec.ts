import { expect, test } from "../fixtures.ts";
import { makePerson, type Person, Visitor } from "../oauth.ts";

async function signedIn(server: { url: string }, person: Person): Promise<Visitor> {
  const visitor = new Visitor(server);
  await visitor.signIn(person);
  return visitor;
}

/** Whether a browser's cookie is accepted by the wallet page, a procedure, a download and next-auth's session endpoint. */
async function opens(visitor: Visitor): Promise<boolean[]> {
  const wallet = await visitor.get("/wallet");
  const procedure = await visitor.get("/api/trpc/account.proofNeeded");
  const download = await visitor.get("/wallet/statement.csv");
  const session = (await (await visitor.get("/api/auth/session")).json()) as object;
  return [wallet.status === 200, procedure.status === 200, download.status === 200, Object.keys(session).length > 0];
}

const EVERYTHING = [true, true, true, true];
const NOTHING = [false, false, false, false];

test("signing out ends the session: a copy of its cookie no longer works, and the user's other browser stays signed in", async ({
  postgresServer: server,
}) => {
  const person = await makePerson(server.db);
  const [desk, phone] = [await signedIn(server, person), await signedIn(server, person)];
  const [copy, still] = [desk.copy(), desk.copy()];
  expect(await opens(copy)).toEqual(EVERYTHING);
  expect((await desk.endSession()).status).toBe(200);
  // Nor is the ended session's cookie renewed at its first use.
  expect((await still.get("/api/auth/session")).headers.getSetCookie().join(" ")).not.toMatch(/session-token=[^;]/);
  for (const visitor of [copy, still, desk]) expect(await opens(visitor)).toEqual(NOTHING);
  expect(await opens(phone)).toEqual(EVERYTHING);
});

test("a session whose cookie was only deleted ends with all others, and so does a session begun later", async ({
  postgresServer: server,
}) => {
  const person = await makePerson(server.db);
  const [desk, phone] = [await signedIn(server, person), await signedIn(server, person)];
  expect((await phone.postJson("/api/trpc/account.signOutEverywhere", { json: null })).status).toBe(200);
  for (const visitor of [desk, phone]) expect(await opens(visitor)).toEqual(NOTHING);
  expect(await opens(await signedIn(server, person))).toEqual(EVERYTHING);
});
