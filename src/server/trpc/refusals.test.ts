import { TRPCError } from "@trpc/server";
import { getHTTPStatusCodeFromError } from "@trpc/server/http";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";
import { z } from "zod";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeApp, makeKey, makeLink, makeUser } from "#testing/makers.ts";
import { POST as openCheckout } from "../../app/v1/checkout/route.ts";
import { POST as fund } from "../../app/v1/funding/credit/route.ts";
import { GET as readModel } from "../../app/v1/models/[...id]/route.ts";
import { POST as retry } from "../../app/v1/webhooks/[id]/deliveries/[delivery_id]/retry/route.ts";
import { GET as readDelivery } from "../../app/v1/webhooks/[id]/deliveries/[delivery_id]/route.ts";
import { PATCH as changeEndpoint, GET as readEndpoint } from "../../app/v1/webhooks/[id]/route.ts";
import { TooManyAttempts } from "../people/attempts.ts";
import { TooBusy } from "../people/hashing.ts";
import { markAway } from "../platform/away.ts";
import { dashboardErrors } from "../platform/dashboard-errors.ts";
import { type AnyErrorCode, AppError, errorTable, rowOf } from "../platform/errors.ts";
import { shownId } from "../platform/ids.ts";
import { refusalOf, trpcErrorOf } from "./refusals.ts";
import { createCaller } from "./root.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

const internal = (cause: unknown) => new TRPCError({ code: "INTERNAL_SERVER_ERROR", cause });
const codes = [...Object.keys(errorTable), ...Object.keys(dashboardErrors)] as AnyErrorCode[];

test.each(codes)("%s is answered with the status and message of the table", (code) => {
  const error = trpcErrorOf(internal(new AppError(code)));
  expect(getHTTPStatusCodeFromError(error)).toBe(rowOf(code).status);
  expect(error.message).toBe(rowOf(code).message);
  expect(refusalOf(error, {})).toEqual({ message: rowOf(code).message, status: rowOf(code).status, error: code, fields: null });
});

test("an error about a member of the input is reported at that field, and others without a field", () => {
  const error = trpcErrorOf(internal(new AppError("bad_request", { param: "url", message: "No." })));
  expect(refusalOf(error, { url: "x" })).toMatchObject({ message: "No.", fields: { url: "No." } });
  for (const input of [{ address: "x" }, undefined, null, "url"])
    expect(refusalOf(error, input)).toMatchObject({ message: "No.", fields: null });
});

test("input that the schema refuses is bad_request, with the first message for each field", () => {
  const { error: cause } = z.object({ a: z.string("Write a."), b: z.string("Write b.") }).safeParse({});
  expect(refusalOf(new TRPCError({ code: "BAD_REQUEST", cause }), {})).toEqual({
    message: errorTable.bad_request.message,
    status: 400,
    error: "bad_request",
    fields: { a: "Write a.", b: "Write b." },
  });
});

test("too many attempts and too many concurrent sign-ins have codes of the table", () => {
  expect(refusalOf(trpcErrorOf(internal(new TooManyAttempts())), {})).toMatchObject({ status: 429, error: "too_many_attempts" });
  expect(refusalOf(trpcErrorOf(internal(new TooBusy())), {})).toMatchObject({ status: 503, error: "sign_in_busy" });
});

test("an unexpected error does not reveal its message, and a database that can't be reached is `unavailable`", () => {
  for (const fault of [internal(new Error("relation user")), internal(z.string().safeParse(1).error)])
    expect(refusalOf(trpcErrorOf(fault), {})).toEqual({
      message: "Something went wrong on our side. Try again in a moment.",
      status: 500,
      error: "internal_error",
      fields: null,
    });
  expect(refusalOf(internal(markAway(new Error("gone"))), {})).toMatchObject({ status: 503, error: "unavailable" });
});

test("errors of tRPC itself keep their message and get a code of the table", () => {
  for (const [code, error] of [
    ["NOT_FOUND", "not_found"],
    ["METHOD_NOT_SUPPORTED", "method_not_allowed"],
    ["PARSE_ERROR", "bad_request"],
  ] as const)
    expect(refusalOf(new TRPCError({ code, message: "As it is." }), {})).toMatchObject({ message: "As it is.", error });
});

test("an error has the same code, message and status in /v1 and in the dashboard", async () => {
  const owner = await makeUser(db(), { credits: 1_000n });
  const app = await makeApp(db(), { ownerId: owner.id });
  const key = await makeKey(db(), app.id);
  const person = await makeUser(db());
  const link = await makeLink(db(), app.id, person);
  const [me, them] = [createCaller({ user: owner }), createCaller({ user: person })];
  const { appId, ...hook } = { appId: app.id, url: "https://1.1.1.1/hook", events: ["user.connected" as const] };
  const { endpoint } = await me.webhooks.create({ appId, ...hook });
  const { id: deliveryId } = await me.webhooks.sendTest({ appId, endpointId: endpoint.id });
  await me.webhooks.update({ appId, endpointId: endpoint.id, enabled: false });

  const missing = uuidv7();
  const [whk, dlv] = [shownId("whk", endpoint.id), shownId("dlv", deliveryId)];
  const gift = { appId, linkedUserId: link.id, giftId: uuidv7() };
  const ask = (method: string, path: string, body?: object) =>
    new Request(`http://localhost${path}`, {
      method,
      headers: { authorization: `Bearer ${key.secret}`, "content-type": "application/json", "idempotency-key": uuidv7() },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const linked = { external_user_id: link.externalUserId };
  const mistakes: [string, Promise<Response>, () => Promise<unknown>][] = [
    [
      "no such endpoint",
      readEndpoint(ask("GET", `/v1/webhooks/${shownId("whk", missing)}`)),
      () => me.webhooks.get({ appId, endpointId: missing }),
    ],
    [
      "no such delivery",
      readDelivery(ask("GET", `/v1/webhooks/${whk}/deliveries/${shownId("dlv", missing)}`)),
      () => me.webhooks.delivery({ appId, endpointId: endpoint.id, deliveryId: missing }),
    ],
    [
      "a disabled endpoint",
      retry(ask("POST", `/v1/webhooks/${whk}/deliveries/${dlv}/retry`)),
      () => me.webhooks.retry({ appId, endpointId: endpoint.id, deliveryId }),
    ],
    [
      "an address that is not public",
      changeEndpoint(ask("PATCH", `/v1/webhooks/${whk}`, { url: "http://127.0.0.1/" })),
      () => me.webhooks.update({ appId, endpointId: endpoint.id, url: "http://127.0.0.1/" }),
    ],
    [
      "no such package",
      openCheckout(ask("POST", "/v1/checkout", { package_id: "usd_0" })),
      () => me.payments.checkout({ packageId: "usd_0" }),
    ],
    ["no such model", readModel(ask("GET", "/v1/models/gpt-0")), () => me.apps.update({ appId, allowedModels: ["gpt-0"] })],
    [
      "no such model for a linked app",
      readModel(ask("GET", "/v1/models/gpt-0")),
      () => them.wallet.setModels({ linkId: link.id, allowedModels: ["gpt-0"] }),
    ],
    [
      "a gift above the balance",
      fund(ask("POST", "/v1/funding/credit", { ...linked, amount: 1_001 })),
      () => me.linkedUsers.fund({ ...gift, amount: 1_001n }),
    ],
  ];
  for (const [what, answer, call] of mistakes) {
    const { error } = (await (await answer).json()) as { error: { code: string; message: string } };
    const thrown = await call().then(
      () => expect.fail(what),
      (each: unknown) => each as TRPCError,
    );
    const refusal = refusalOf(thrown, {});
    expect([what, refusal.error, refusal.message, refusal.status]).toEqual([what, error.code, error.message, (await answer).status]);
  }
});
