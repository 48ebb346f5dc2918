import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { TooManyAttempts } from "../people/attempts.ts";
import { TooBusy } from "../people/hashing.ts";
import { isDatabaseAway } from "../platform/away.ts";
import { type AnyErrorCode, AppError, type ErrorStatus } from "../platform/errors.ts";

/*
 * Turns errors of procedures into answers. Procedures throw AppErrors of the table in platform/errors.ts, as the doors
 * of /v1 do; TRPCErrors are made in this file only.
 */

const tooManyInAnHour = "Too many attempts. Wait an hour, then try again.";

/** tRPC's code for each status in the table. tRPC answers with the status of its code. */
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

/** `status` has to be in the table. */
export function trpcCodeOf(status: number): TRPCError["code"] {
  return codes[status as ErrorStatus];
}

/** A TRPCError with the status and message of the AppError that a procedure threw. Other errors are returned unchanged. */
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

/** The answer to an error. `error` is the table's code; `fields` has a sentence for each field at fault, or is null. */
export type Refusal = { message: string; status: number; error: AnyErrorCode; fields: Record<string, string> | null };

/** `input` is the procedure's input. An error whose `param` is a member of it is reported in `fields`. */
export function refusalOf(error: TRPCError, input: unknown): Refusal {
  const { cause } = error;
  if (cause instanceof AppError) return { message: cause.message, status: cause.status, error: cause.code, fields: fieldOf(cause, input) };
  if (isDatabaseAway(error)) return refusalWith(new AppError("unavailable"));
  if (error.code === "INTERNAL_SERVER_ERROR")
    // The error's own message goes to the log only, because it may name tables or other users.
    return refusalWith(new AppError("internal_error", { message: "Something went wrong on our side. Try again in a moment." }));
  if (cause instanceof z.ZodError) return { ...refusalWith(new AppError("bad_request")), fields: firstIssues(cause) };
  // Errors of tRPC itself: unknown procedure, invalid JSON, wrong method.
  const code = ownCodes[error.code] ?? "bad_request";
  return refusalWith(new AppError(code, { message: error.message }));
}

const ownCodes: Partial<Record<TRPCError["code"], AnyErrorCode>> = {
  NOT_FOUND: "not_found",
  METHOD_NOT_SUPPORTED: "method_not_allowed",
  PAYLOAD_TOO_LARGE: "request_too_large",
};

function refusalWith(error: AppError): Refusal {
  return { message: error.message, status: error.status, error: error.code, fields: null };
}

function fieldOf({ param, message }: AppError, input: unknown): Record<string, string> | null {
  const isSent = param !== null && typeof input === "object" && input !== null && Object.hasOwn(input, param);
  return isSent ? { [param]: message } : null;
}

/** The first message about each field, by the field's name. */
function firstIssues(error: z.ZodError): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const issue of error.issues) fields[String(issue.path[0] ?? "")] ??= issue.message;
  return fields;
}
