import { initTRPC } from "@trpc/server";
import superjson from "superjson";
import { z } from "zod";
import { appItem } from "../apps/apps.ts";
import { prove } from "../people/proof-of-identity.ts";
import { isDatabaseAway, RETRY_AFTER_SECONDS } from "../platform/away.ts";
import { prisma } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { isUuid } from "../platform/ids.ts";
import { refusalOf, trpcCodeOf, trpcErrorOf } from "./refusals.ts";

export type Context = { user: { id: string; email: string; walletId: string; signedInAt?: Date | null } | null; ip?: string };

const t = initTRPC.context<Context>().create({
  // JSON has no bigint and no Date.
  transformer: superjson,
  errorFormatter: ({ shape, error, input }) => {
    const { message, status, error: code, fields } = refusalOf(error, input);
    const ofServer = status >= 500 ? { httpStatus: status, code: trpcCodeOf(status), stack: undefined } : {};
    return { ...shape, message, data: { ...shape.data, ...ofServer, error: code, fields } };
  },
});

/** 503 with Retry-After when a procedure, or reading the session, failed because the database can't be reached. */
export function metaOf({ errors }: { errors: readonly unknown[] }): { status?: number; headers?: Headers } {
  return errors.some(isDatabaseAway) ? { status: 503, headers: new Headers({ "retry-after": String(RETRY_AFTER_SECONDS) }) } : {};
}

export const { router, createCallerFactory } = t;

/** Every procedure answers with errors of the table in platform/errors.ts. */
const procedure = t.procedure.use(async ({ next }) => {
  const result = await next();
  if (!result.ok) throw trpcErrorOf(result.error);
  return result;
});

/** Without a session. */
export const visitorProcedure = procedure.use(({ next, ctx }) => next({ ctx: { ip: ctx.ip ?? "unknown" } }));

/** For a signed-in user. */
export const userProcedure = procedure.use(({ ctx, next }) => {
  if (ctx.user === null) throw new AppError("sign_in_required");
  return next({ ctx: { user: ctx.user } });
});

/** A current password, which is compared and not checked for its form. */
export const passwordInput = z.string().max(1024).optional();

/** For actions that cannot be undone: throws unless the password is right or, for a user without one, the sign-in is recent. */
export async function requireProof(
  ctx: { user: NonNullable<Context["user"]>; ip?: string | undefined },
  password: string | undefined,
): Promise<void> {
  const outcome = await prove(ctx.user, { password: password ?? null, ip: ctx.ip ?? "unknown" });
  if (outcome === "too many attempts") throw new AppError("too_many_attempts");
  if (outcome === "wrong password") throw new AppError("wrong_password");
  if (outcome === "password needed") throw new AppError("password_required");
  if (outcome === "sign-in needed") throw new AppError("fresh_sign_in_required");
}

/** For the owner of an app. Another user's app and an unknown id give the same error, so ids can't be probed. */
export const appProcedure = userProcedure.input(z.object({ appId: z.string() })).use(async ({ ctx, input, next }) => {
  const app = isUuid(input.appId)
    ? await (await prisma()).app.findFirst({ where: { id: input.appId, ownerId: ctx.user.id, deletedAt: null }, select: appItem })
    : null;
  if (app === null) throw noSuchApp();
  return next({ ctx: { app } });
});

export function noSuchApp(): AppError {
  return new AppError("not_found", { message: "There is no such app." });
}

/** For the user of a link. Another user's link and an unknown id give the same error, so ids can't be probed. */
export const linkProcedure = userProcedure.input(z.object({ linkId: z.string() })).use(async ({ ctx, input, next }) => {
  const link = isUuid(input.linkId)
    ? await (await prisma()).linkedUser.findFirst({
        where: { id: input.linkId, userId: ctx.user.id },
        select: { id: true, appId: true, externalUserId: true, agreement: { select: { allowedModels: true } } },
      })
    : null;
  if (link === null) throw noSuchLink();
  return next({ ctx: { link } });
});

export function noSuchLink(): AppError {
  return new AppError("not_found", { message: "This app is not connected to your wallet." });
}
