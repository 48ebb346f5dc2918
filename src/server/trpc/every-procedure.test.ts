import { TRPCError } from "@trpc/server";
import { v7 as uuidv7 } from "uuid";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { AppError } from "../platform/errors.ts";
import { appRouter, createCaller } from "./root.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

/**
 * Every procedure, read from the router, so that a new one is tested too. A procedure with
 * `appId` in its input is about an app, one with `linkId` about a link; others must not take
 * an id at all.
 */
const procedures = appRouter._def.procedures as unknown as Record<
  string,
  { _def: { inputs: { shape?: object }[]; output?: z.core.$ZodType } }
>;
const paths = Object.keys(procedures).sort();
const takes = (path: string, field: RegExp) =>
  procedures[path]?._def.inputs.flatMap((input) => Object.keys(input.shape ?? {})).filter((name) => field.test(name)) ?? [];

/** `appId` is only a filter within the user's own wallet here; root.test.ts has the test for that. */
const filters = ["wallet.statement"];
const aboutOneApp = paths.filter((path) => takes(path, /^appId$/).length > 0 && !filters.includes(path));
const aboutOneLink = paths.filter((path) => takes(path, /^linkId$/).length > 0);
const others = paths.filter((path) => !aboutOneApp.includes(path) && !aboutOneLink.includes(path));
/** Procedures that need no session. */
const forVisitors = ["account.finishSignUp", "account.requestReset", "account.resetPassword", "account.startSignUp"];

type Person = { id: string; email: string; walletId: string };

function ask(user: Person | null, path: string, input: unknown): Promise<unknown> {
  const [group, verb] = path.split(".") as [string, string];
  const caller = createCaller({ user }) as unknown as Record<string, Record<string, (input: unknown) => Promise<unknown>>>;
  const procedure = caller[group]?.[verb];
  if (procedure === undefined) throw new Error(`no procedure ${path}`);
  return procedure(input);
}

async function codeOf(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await call;
  } catch (error) {
    if (error instanceof TRPCError) {
      // An error of the table, or input that the schema refuses.
      if (error.code !== "BAD_REQUEST") expect(error.cause).toBeInstanceOf(AppError);
      return { code: error.code, message: error.message };
    }
    throw error;
  }
  return { code: "no error", message: "" };
}

/** The rows of an app that procedures could change. */
async function everythingOf(appId: string) {
  const where = { appId };
  const [app, keys, links] = await Promise.all([
    db().prisma.app.findUnique({ where: { id: appId } }),
    db().prisma.apiKey.findMany({ where, orderBy: { id: "asc" } }),
    db().prisma.linkedUser.findMany({ where, orderBy: { id: "asc" } }),
  ]);
  return { app, keys, links };
}

test("a procedure that is about neither an app nor a link takes no id of another user's row", () => {
  expect(aboutOneApp.length).toBeGreaterThan(10);
  expect(aboutOneLink.length).toBeGreaterThan(3);
  for (const path of others) {
    if (forVisitors.includes(path) || filters.includes(path)) continue;
    // Packages of credits belong to no user.
    expect(
      takes(path, /id$/i).filter((field) => field !== "packageId"),
      path,
    ).toEqual([]);
  }
});

test.each(paths.filter((path) => !forVisitors.includes(path)))("%s asks a visitor to sign in", async (path) => {
  const answer = await codeOf(ask(null, path, { appId: uuidv7(), linkId: uuidv7() }));
  expect(answer).toEqual({ code: "UNAUTHORIZED", message: "Sign in to continue." });
});

/** Procedures whose answers have a secret. */
const answersSecret = [
  "apiKeys.mint",
  "apiKeys.roll",
  "apps.create",
  "apps.rotateSecret",
  "webhooks.create",
  "webhooks.revealSecret",
  "webhooks.rotateSecret",
];

/** The names of a schema's members at every depth, and its kinds of schemas that let members through which they do not name. */
function membersOf(
  schema: z.core.$ZodType,
  names = new Set<string>(),
  loose = new Set<string>(),
): { names: Set<string>; loose: Set<string> } {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if (def.type === "object") {
    if (def.catchall !== undefined && def.catchall._zod.def.type !== "never") loose.add("object with other members");
    for (const [name, member] of Object.entries(def.shape)) membersOf(member, names.add(name), name === "sample" ? new Set() : loose);
  } else if (def.type === "array") membersOf(def.element, names, loose);
  else if (def.type === "nullable" || def.type === "optional") membersOf(def.innerType, names, loose);
  else if (def.type === "union") for (const option of def.options) membersOf(option, names, loose);
  else if (def.type === "record") membersOf(def.valueType, names, loose);
  else if (!["string", "number", "bigint", "boolean", "date", "enum", "literal", "void"].includes(def.type)) loose.add(def.type);
  return { names, loose };
}

describe("an answer", () => {
  test.each(paths)("of %s has an output schema that strips members which it does not name", (path) => {
    const output = procedures[path]?._def.output;
    if (output === undefined) return expect.fail("no .output()");
    const { names, loose } = membersOf(output);
    expect([...loose]).toEqual([]);
    const secrets = [...names].filter((name) => /hash|secret|password|sealed/i.test(name));
    // May be shown: whether the user has a password, the last characters of a secret, and until when it works.
    const harmless = ["password", "clientSecretFragment", "formerSecretFragment", "formerSecretEndsAt", "formerSecretUntil"];
    const kept = secrets.filter((name) => !harmless.includes(name));
    expect(kept).toEqual(answersSecret.includes(path) ? [expect.stringMatching(/^(secret|clientSecret)$/)] : []);
  });

  test("leaves out a member that a query selects and the schema does not name", async () => {
    const owner = await makeUser(db());
    const app = await makeApp(db(), { ownerId: owner.id });
    const row = await db().prisma.app.findUniqueOrThrow({ where: { id: app.id } });
    expect(row).toHaveProperty("clientSecretHash");
    const { output } = procedures["apps.get"]?._def ?? {};
    const answer = (output as z.ZodType).parse(row);
    expect(answer).toEqual(await createCaller({ user: owner }).apps.get({ appId: app.id }));
    expect(answer).not.toHaveProperty("clientSecretHash");
  });
});

describe("another user's app", () => {
  // The app's owner is checked before the other fields, so these can be left out.
  test.each(aboutOneApp)("%s answers as for an unknown or deleted app, and changes nothing", async (path) => {
    const [owner, stranger] = [await makeUser(db()), await makeUser(db())];
    const app = await makeApp(db(), { ownerId: owner.id });
    await makeKey(db(), app.id);
    await makeLink(db(), app.id, await makeUser(db()));
    const deleted = await makeApp(db(), { ownerId: stranger.id });
    await db().prisma.app.update({ where: { id: deleted.id }, data: { deletedAt: new Date() } });
    const before = await everythingOf(app.id);

    const answers = await Promise.all([app.id, uuidv7(), "no-such-app", deleted.id].map((appId) => codeOf(ask(stranger, path, { appId }))));

    expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(
      new Set([JSON.stringify({ code: "NOT_FOUND", message: "There is no such app." })]),
    );
    expect(await everythingOf(app.id)).toEqual(before);
    // The owner gets an answer, or an error about the missing fields.
    expect(["no error", "BAD_REQUEST"]).toContain((await codeOf(ask(owner, path, { appId: app.id }))).code);
  });
});
