import { call, chat } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { codeFor, HOSTED, makeClient, makePerson, originOf, redeem } from "../oauth.ts";

test("hosted: a code becomes a linked user, with what the person decided, and no token leaves the server", async ({ postgresServer: server }) => {
  const { db } = server;
  const person = await makePerson(db, { credits: 1_000_000n });
  const client = await makeClient(db, { markupBps: 2_000 });
  const issued = await codeFor(server, person, client, { form: [["decision", "allow"], ["limited", "yes"], ["limit", "$0.50"], ["model", "gpt-4o-mini"]] });
  expect(issued.back.searchParams.get("state")).toBe("the-state");
  expect(issued.back.searchParams.get("iss")).toBe(originOf(server));

  const answer = await redeem(server, client, issued, { ...HOSTED, external_user_id: "their-7" });
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  expect(answer.json).toEqual({
    storage_mode: "hosted",
    external_user_id: "their-7",
    scope: "credits.read credits.spend",
    user: { id: person.id, email: person.email },
    linked_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  });
  const link = await db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });
  expect(link).toMatchObject({ userId: person.id, monthlyLimit: 500_000n, allowedModels: ["gpt-4o-mini"], agreedMarkupBps: 2_000, byToken: false });
  const paid = await call(server, "/v1/chat/completions", { key: client.key, user: "their-7", body: chat("Hello") });
  expect(paid.status).toBe(200);
});
