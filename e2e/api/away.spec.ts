import { startPostgresGate } from "../../src/testing/postgres-gate.ts";
import { forget, startServer } from "../../src/testing/server-process.ts";
import { expect, test } from "../fixtures.ts";
import { makePerson, Visitor } from "../oauth.ts";

test("while the database is away pages, sign-in, sign-out and the dashboard are 503 with Retry-After, and everything works when it is back", async ({
  ownDatabase,
}) => {
  const gate = await startPostgresGate(ownDatabase.url);
  const server = await startServer({ databaseUrl: gate.url });
  try {
    const person = await makePerson(ownDatabase.db);
    const visitor = new Visitor(server);
    await visitor.signIn(person);
    const { csrfToken } = (await (await visitor.get("/api/auth/csrf")).json()) as { csrfToken: string };
    expect((await visitor.get("/wallet")).status).toBe(200);
    const copy = visitor.copy();

    const credentials = { csrfToken, email: person.email, password: person.password, json: "true" };
    const asks: [name: string, ask: () => Promise<Response>][] = [
      ["the wallet", () => visitor.get("/wallet")],
      ["a download", () => visitor.get("/wallet/statement.csv")],
      ["the dashboard's API", () => visitor.get("/api/trpc/account.proofNeeded")],
      ["the session", () => visitor.get("/api/auth/session", { accept: "application/json" })],
      ["signing in", () => visitor.copy().post("/api/auth/callback/credentials", credentials, { accept: "application/json" })],
      ["signing out", () => visitor.copy().post("/api/auth/signout", { csrfToken, json: "true" }, { accept: "application/json" })],
      ["health", () => visitor.get("/healthz")],
    ];
    await gate.close("refused");
    for (const [name, ask] of asks) {
      const answer = await ask();
      const body = await answer.text();
      expect([name, answer.status, answer.headers.has("retry-after")], body.slice(0, 300)).toEqual([name, 503, true]);
      if (name === "the wallet") expect(body).toContain("Quota is not available right now");
    }
    await gate.open();
    // All users are still signed in, and signing out works now.
    expect((await copy.get("/wallet")).status).toBe(200);
    expect((await visitor.endSession()).status).toBe(200);
    expect((await copy.get("/wallet")).status).not.toBe(200);
    expect(await server.stop()).toBe(0);
  } finally {
    if (!server.killed()) server.terminate();
    await server.exited;
    await forget(server);
    await gate.end();
  }
});
