import { initTRPC, TRPCError } from "@trpc/server";
import superjson from "superjson";
import { z } from "zod";
import { appItem } from "../apps/apps.ts";
import { TooManyAttempts } from "../people/attempts.ts";
import { TooBusy } from "../people/hashing.ts";
import { prove } from "../people/proof-of-identity.ts";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { prisma } from "../platform/db.ts";
import { isUuid } from "../platform/ids.ts";

export type Context = { user: { id: string; email: string; walletId: string; signedInAt?: Date | null } | null; ip?: string };

const t = initTRPC.context<Context>().create({
  // For bigint and Date.
  transformer: superjson,
  errorFormatter: ({ shape, error }) => {
    if (isDatabaseAway(error)) {
      const data = { ...shape.data, code: "SERVICE_UNAVAILABLE" as const, httpStatus: 503, stack: undefined, fields: null };
      return { ...shape, message: "Quota cannot reach its database right now. Try again in a moment.", data };
    }
    if (error.code === "INTERNAL_SERVER_ERROR") {
      // What really happened is for the log; it may name tables or strangers.
      return {
        ...shape,
        message: "Something went wrong on our side. Try again in a moment.",
        data: { ...shape.data, stack: undefined, fields: null },
      };
    }
    if (error.cause instanceof z.ZodError) {
      return { ...shape, message: "A field needs another value.", data: { ...shape.data, fields: firstIssues(error.cause) } };
    }
    return { ...shape, data: { ...shape.data, fields: null } };
  },
});

/** What an answer carries whose procedures, or whose look-up of the session, met the database away. */
export function metaOf({ errors }: { errors: readonly TRPCError[] }): { status?: number; headers?: Headers } {
  return errors.some(isDatabaseAway) ? { status: 503, headers: new Headers({ "retry-after": String(RETRY_AFTER_SECONDS) }) } : {};
}

export const { router, createCallerFactory } = t;

const procedure = t.procedure.use(async ({ next }) => {
  const result = await next();
  if (!result.ok && result.error.cause instanceof TooBusy)
    throw new TRPCError({ code: "SERVICE_UNAVAILABLE", message: "Too many people are signing in right now. Try again in a moment." });
  return result;
});

/** For everybody, signed in or not. */
export const visitorProcedure = procedure.use(async ({ next, ctx }) => {
  const result = await next({ ctx: { ip: ctx.ip ?? "unknown" } });
  if (!result.ok && result.error.cause instanceof TooManyAttempts)
    throw tooManyAttempts("Too many attempts. Wait an hour, then try again.");
  return result;
});

export function tooManyAttempts(message: string): TRPCError {
  return new TRPCError({ code: "TOO_MANY_REQUESTS", message });
}

/** For people who are signed in. */
export const userProcedure = procedure.use(({ ctx, next }) => {
  if (ctx.user === null) throw new TRPCError({ code: "UNAUTHORIZED", message: "Sign in to continue." });
  return next({ ctx: { user: ctx.user } });
});

/** A password that somebody has, as far as it is given. */
export const givenPassword = z.string().max(1024).optional();

/**
 * Throws, with a sentence for the person, unless they have shown that it is them: for what cannot be undone.
 */
export async function mustProve(
  ctx: { user: NonNullable<Context["user"]>; ip?: string | undefined },
  password: string | undefined,
): Promise<void> {
  const outcome = await prove(ctx.user, { password: password ?? null, ip: ctx.ip ?? "unknown" });
  if (outcome === "too many attempts") throw tooManyAttempts("Too many attempts. Wait 15 minutes, then try again.");
  if (outcome === "wrong password") throw new TRPCError({ code: "BAD_REQUEST", message: "This is not your password." });
  if (outcome === "password needed") throw new TRPCError({ code: "PRECONDITION_FAILED", message: "Type your password to go on." });
  if (outcome === "sign-in needed") throw new TRPCError({ code: "PRECONDITION_FAILED", message: "Sign in again to go on." });
}

/** For the owner of one app. A stranger's app and one that does not exist look the same. */
export const appProcedure = userProcedure.input(z.object({ appId: z.string() })).use(async ({ ctx, input, next }) => {
  const app = isUuid(input.appId)
    ? await (await prisma()).app.findFirst({ where: { id: input.appId, ownerId: ctx.user.id, deletedAt: null }, select: appItem })
    : null;
  if (app === null) throw noSuchApp();
  return next({ ctx: { app } });
});

export function noSuchApp(): TRPCError {
  return new TRPCError({ code: "NOT_FOUND", message: "There is no such app." });
}

/** For the person who allowed one app to spend. A stranger's link and one that does not exist look the same. */
export const linkProcedure = userProcedure.input(z.object({ linkId: z.string() })).use(async ({ ctx, input, next }) => {
  const link = isUuid(input.linkId)
    ? await (await prisma()).linkedUser.findFirst({
        where: { id: input.linkId, userId: ctx.user.id },
        select: { id: true, appId: true, externalUserId: true, allowedModels: true },
      })
    : null;
  if (link === null) throw noSuchLink();
  return next({ ctx: { link } });
});

export function noSuchLink(): TRPCError {
  return new TRPCError({ code: "NOT_FOUND", message: "This app is not connected to your wallet." });
}

/** The first sentence about each field, by its name. */
function firstIssues(error: z.ZodError): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const issue of error.issues) fields[String(issue.path[0] ?? "")] ??= issue.message;
  return fields;
}
