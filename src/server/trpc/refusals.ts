import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { TooManyAttempts } from "../people/attempts.ts";
import { TooBusy } from "../people/hashing.ts";
import { isDatabaseAway } from "../platform/away.ts";
import { type AnyErrorCode, AppError, type ErrorStatus } from "../platform/errors.ts";

/*
 * How an error of a procedure becomes an answer. Procedures throw AppErrors of the one table (platform/errors.ts), as
 * the doors of /v1 do; only this file makes a TRPCError.
 */

const tooManyInAnHour = "Too many attempts. Wait an hour, then try again.";

/** tRPC's code of each status in the table. tRPC answers with the status that belongs to it. */
const codes: Record<ErrorStatus, TRPCError["code"]> = {
  400: "BAD_REQUEST",
  401: "UNAUTHORIZED",
  402: "PAYMENT_REQUIRED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  405: "METHOD_NOT_SUPPORTED",
  408: "TIMEOUT",
  409: "CONFLICT",
  412: "PRECONDITION_FAILED",
  413: "PAYLOAD_TOO_LARGE",
  429: "TOO_MANY_REQUESTS",
  500: "INTERNAL_SERVER_ERROR",
  502: "BAD_GATEWAY",
  503: "SERVICE_UNAVAILABLE",
  504: "GATEWAY_TIMEOUT",
};

/** `status` is one of the table. */
export function trpcCodeOf(status: number): TRPCError["code"] {
  return codes[status as ErrorStatus];
}

/** What a procedure threw, as tRPC wants it: of an AppError its status and words. Anything else is left as it is. */
export function trpcErrorOf(error: TRPCError): TRPCError {
  const known = knownError(error.cause);
  return known === null ? error : new TRPCError({ code: trpcCodeOf(known.status), message: known.message, cause: known });
}

function knownError(cause: unknown): AppError | null {
  if (cause instanceof AppError) return cause;
  if (cause instanceof TooBusy) return new AppError("sign_in_busy", { cause });
  if (cause instanceof TooManyAttempts) return new AppError("too_many_attempts", { message: tooManyInAnHour, cause });
  return null;
}

/** What the browser is told of an error. `error` is the table's code; `fields` has a sentence for each field at fault, or is null. */
export type Refusal = { message: string; status: number; error: AnyErrorCode; fields: Record<string, string> | null };

/** `input`: what the procedure was sent. An error about one of its members is told at that field. */
export function refusalOf(error: TRPCError, input: unknown): Refusal {
  const { cause } = error;
  if (cause instanceof AppError) return { message: cause.message, status: cause.status, error: cause.code, fields: fieldOf(cause, input) };
  if (isDatabaseAway(error)) return told(new AppError("unavailable"));
  if (error.code === "INTERNAL_SERVER_ERROR")
    // What really happened is for the log; it may name tables or strangers.
    return told(new AppError("internal_error", { message: "Something went wrong on our side. Try again in a moment." }));
  if (cause instanceof z.ZodError) return { ...told(new AppError("bad_request")), fields: firstIssues(cause) };
  // tRPC's own: no such procedure, no JSON, another method.
  const code = ownCodes[error.code] ?? "bad_request";
  return told(new AppError(code, { message: error.message }));
}

const ownCodes: Partial<Record<TRPCError["code"], AnyErrorCode>> = {
  NOT_FOUND: "not_found",
  METHOD_NOT_SUPPORTED: "method_not_allowed",
  PAYLOAD_TOO_LARGE: "request_too_large",
};

function told(error: AppError): Refusal {
  return { message: error.message, status: error.status, error: error.code, fields: null };
}

function fieldOf({ param, message }: AppError, input: unknown): Record<string, string> | null {
  const isSent = param !== null && typeof input === "object" && input !== null && Object.hasOwn(input, param);
  return isSent ? { [param]: message } : null;
}

/** The first sentence about each field, by its name. */
function firstIssues(error: z.ZodError): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const issue of error.issues) fields[String(issue.path[0] ?? "")] ??= issue.message;
  return fields;
}
