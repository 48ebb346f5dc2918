"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { type RefObject, useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { z } from "zod";
import { creditsOf, exactDollars } from "#money";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { Choice, Choices } from "#ui/choice.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import type { Endpoint, EventTypes } from "./states.tsx";

type EventType = EventTypes[number]["type"];

/** An unchanged threshold keeps its exact credits, which may have more decimals than can be typed. */
const typedEndpoint = (kept: string | null) =>
  z.object({
    url: z.string().trim().min(1, "Write the whole address, such as https://example.com/webhooks."),
    description: z.string().trim().max(500, "A description has at most 500 characters."),
    events: z.array(z.custom<EventType>()).min(1, "Choose at least one event."),
    threshold: z.string().transform((text, context) => {
      if (text === kept) return undefined;
      const credits = creditsOf(text);
      if (credits !== null && credits > 0n) return credits;
      context.addIssue({ code: "custom", message: "Write an amount of dollars above zero, such as 0.10." });
      return z.NEVER;
    }),
    sandbox: z.boolean(),
  });

/** The form's field for a field of the server. */
const fieldOf: Partial<Record<string, keyof Typed>> = {
  url: "url",
  description: "description",
  events: "events",
  balanceLowThreshold: "threshold",
};

type Typed = z.input<ReturnType<typeof typedEndpoint>>;
type Checked = z.output<ReturnType<typeof typedEndpoint>>;

const FIRST_THRESHOLD = 100_000n;

type FormProps = { appId: string; types: EventTypes; endpoint?: Endpoint; onDone: (made?: { id: string; secret: string }) => void };

function EndpointForm({ appId, types, endpoint, onDone }: FormProps) {
  const threshold = exactDollars(endpoint?.balanceLowThreshold ?? FIRST_THRESHOLD).replaceAll(",", "");
  const [resolver] = useState(() => zodResolver(typedEndpoint(endpoint === undefined ? null : threshold)));
  const form = useForm<Typed, unknown, Checked>({
    resolver,
    defaultValues: {
      url: endpoint?.url ?? "",
      description: endpoint?.description ?? "",
      events: endpoint?.events ?? types.map(({ type }) => type),
      threshold,
      sandbox: endpoint?.sandbox ?? false,
    },
  });
  const { errors } = form.formState;
  /** The form is longer than many screens, so the first refused field is scrolled into view. */
  function onError(error: unknown) {
    const refused = Object.entries(failureOf(error).fields).flatMap(([name, message]) => {
      const field = fieldOf[name];
      return field === undefined ? [] : [{ field, message }];
    });
    for (const [n, { field, message }] of refused.entries()) form.setError(field, { message }, { shouldFocus: n === 0 });
  }
  const create = trpc.webhooks.create.useMutation({ onSuccess: ({ endpoint: made, secret }) => onDone({ id: made.id, secret }), onError });
  const update = trpc.webhooks.update.useMutation({ onSuccess: () => onDone(), onError });
  const busy = create.isPending || update.isPending;
  const failure = failureOf(create.error ?? update.error);
  const events = form.watch("events");

  const submit = form.handleSubmit(({ threshold, sandbox, ...typed }) => {
    const shared = { appId, ...typed, balanceLowThreshold: threshold };
    if (endpoint === undefined) create.mutate({ ...shared, sandbox });
    else update.mutate({ ...shared, endpointId: endpoint.id });
  });

  return (
    <form onSubmit={submit} noValidate className="space-y-5">
      <TextField
        label="Address"
        type="url"
        placeholder="https://example.com/webhooks"
        autoComplete="off"
        spellCheck={false}
        error={errors.url?.message}
        {...form.register("url")}
      />
      <TextField
        label="Description"
        optional
        maxLength={500}
        autoComplete="off"
        error={errors.description?.message}
        {...form.register("description")}
      />
      <Controller
        control={form.control}
        name="events"
        render={({ field }) => (
          <Choices legend="Events" error={errors.events?.message}>
            {types.map(({ type, when }) => (
              <Choice
                key={type}
                type="checkbox"
                title={<code className="font-mono text-[0.8125rem]">{type}</code>}
                says={when.replaceAll("`", "")}
                checked={field.value.includes(type)}
                onChange={(event) => {
                  field.onChange(event.target.checked ? [...field.value, type] : field.value.filter((each) => each !== type));
                  // The threshold's field is removed, so an error in it could not be seen.
                  if (type === "balance.low") form.resetField("threshold");
                }}
                className="py-2 has-checked:border-line has-checked:bg-surface"
              />
            ))}
          </Choices>
        )}
      />
      {events.includes("balance.low") && (
        <TextField
          label="A wallet is low below"
          inputMode="decimal"
          autoComplete="off"
          className="max-w-40"
          error={errors.threshold?.message}
          {...form.register("threshold")}
        />
      )}
      {endpoint === undefined && (
        <Choice
          type="checkbox"
          title="For the sandbox"
          says="Hears of requests with sandbox keys, and of nothing else."
          {...form.register("sandbox")}
        />
      )}
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <DialogActions>
        <Button onClick={() => onDone()}>Cancel</Button>
        <Button type="submit" kind="primary" unavailable={busy}>
          {endpoint === undefined ? (busy ? "Adding" : "Add endpoint") : busy ? "Saving" : "Save endpoint"}
        </Button>
      </DialogActions>
    </form>
  );
}

export function NewEndpointButton({ appId, types }: { appId: string; types: EventTypes }) {
  const [open, setOpen] = useState(false);
  const [made, setMade] = useState<{ id: string; secret: string }>();
  const router = useRouter();
  return (
    <>
      <Button kind="primary" onClick={() => setOpen(true)}>
        New endpoint
      </Button>
      {open && made === undefined && (
        <Dialog open onOpenChange={setOpen} title="New endpoint">
          <EndpointForm
            appId={appId}
            types={types}
            onDone={(created) => {
              if (created === undefined) setOpen(false);
              else setMade(created);
            }}
          />
        </Dialog>
      )}
      {made !== undefined && (
        <SigningSecret
          title="The endpoint is there"
          secret={made.secret}
          onClose={() => router.push(`/dashboard/${appId}/webhooks/${made.id}`)}
        />
      )}
    </>
  );
}

export function EditEndpointButton({ appId, types, endpoint }: { appId: string; types: EventTypes; endpoint: Endpoint }) {
  const [open, setOpen] = useState(false);
  const router = useRouter();
  return (
    <>
      <Button size="small" onClick={() => setOpen(true)}>
        Edit
      </Button>
      {open && (
        <Dialog open onOpenChange={setOpen} title="Edit this endpoint">
          <EndpointForm
            appId={appId}
            types={types}
            endpoint={endpoint}
            onDone={() => {
              setOpen(false);
              router.refresh();
            }}
          />
        </Dialog>
      )}
    </>
  );
}

/** The secret with which receivers verify deliveries. Unlike an API key it can be shown again. */
export function SigningSecret({
  title,
  secret,
  onClose,
  returnFocusTo,
}: {
  title: string;
  secret: string;
  onClose: () => void;
  returnFocusTo?: RefObject<HTMLElement | null>;
}) {
  return (
    <Dialog
      open
      onOpenChange={onClose}
      returnFocusTo={returnFocusTo}
      title={title}
      description="Your server verifies with this secret that a delivery comes from Quota."
    >
      <CopyBox label="Signing secret" text={secret} />
      <DialogActions>
        <Button kind="primary" onClick={onClose}>
          Done
        </Button>
      </DialogActions>
    </Dialog>
  );
}
