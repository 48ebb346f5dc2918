"use client";

import { Plus, X } from "lucide-react";
import { Controller, type UseFormReturn, useFieldArray, useFormState } from "react-hook-form";
import { SCOPES, type Scope } from "#server/connect/scopes.ts";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { Choice, Choices } from "#ui/choice.tsx";
import { classes } from "#ui/classes.ts";
import { control } from "#ui/field.tsx";
import type { Checked, Typed } from "./app-form.ts";

type Form = { form: UseFormReturn<Typed, unknown, Checked> };

const says: Record<Scope, { title: string; says: string }> = {
  openid: { title: "openid", says: "Sign people in: know that it is them when they come back." },
  profile: { title: "profile", says: "See their name." },
  email: { title: "email", says: "See their email address." },
  "credits.read": { title: "credits.read", says: "See their balance." },
  "credits.spend": { title: "credits.spend", says: "Spend their credits on requests they make." },
};

/** The settings of an app that Connect Wallet uses. */
export function HowPeopleConnect({ form }: Form) {
  const { register } = form;
  const { errors } = useFormState({ control: form.control });
  return (
    <Card className="space-y-6 p-4 sm:p-6">
      <h2 className="font-semibold">How people connect</h2>
      <Controller
        control={form.control}
        name="scopes"
        render={({ field }) => (
          <Choices
            legend="What it may ask people for"
            hint="A request for more is refused. Connect Wallet needs credits.read and credits.spend."
            error={errors.scopes?.message}
          >
            {SCOPES.map((scope) => (
              <Choice
                key={scope}
                type="checkbox"
                title={<code className="font-mono text-[0.8125rem]">{says[scope].title}</code>}
                says={says[scope].says}
                checked={field.value.includes(scope)}
                onChange={(event) =>
                  field.onChange(SCOPES.filter((each) => (each === scope ? event.target.checked : field.value.includes(each))))
                }
                className="py-2 has-checked:border-line has-checked:bg-surface"
              />
            ))}
          </Choices>
        )}
      />
      <RedirectUris form={form} />
      <Choice
        type="checkbox"
        title="Public client"
        says="For an app that runs in people’s browsers or on their devices and can’t keep a secret. It connects with PKCE alone, and not with hosted storage."
        {...register("publicClient")}
      />
    </Card>
  );
}

function RedirectUris({ form }: Form) {
  const { register } = form;
  const { errors } = useFormState({ control: form.control });
  const uris = useFieldArray({ control: form.control, name: "redirectUris" });
  return (
    <fieldset>
      <legend className="mb-1.5 text-sm font-medium">Redirect URIs</legend>
      <ul className="space-y-2">
        {uris.fields.map((row, n) => {
          const error = errors.redirectUris?.[n]?.uri?.message;
          return (
            <li key={row.id}>
              <div className="flex gap-2">
                <input
                  aria-label={`Redirect URI ${n + 1}`}
                  aria-invalid={error === undefined ? undefined : true}
                  aria-describedby={error === undefined ? undefined : `uri-${row.id}-error`}
                  placeholder="https://acme.chat/api/quota/callback"
                  spellCheck={false}
                  autoComplete="off"
                  className={classes(control, "h-10 min-w-0 font-mono text-[0.8125rem]")}
                  {...register(`redirectUris.${n}.uri`)}
                />
                <Button kind="quiet" className="px-2.5" aria-label={`Remove redirect URI ${n + 1}`} onClick={() => uris.remove(n)}>
                  <X size={18} aria-hidden="true" />
                </Button>
              </div>
              {error !== undefined && (
                <p id={`uri-${row.id}-error`} role="alert" className="mt-1.5 text-sm leading-5 text-danger">
                  {error}
                </p>
              )}
            </li>
          );
        })}
      </ul>
      {uris.fields.length < 20 && (
        <Button size="small" kind="quiet" className="mt-2" onClick={() => uris.append({ uri: "" })}>
          <Plus size={16} aria-hidden="true" />
          Add another
        </Button>
      )}
      <p className="mt-1.5 text-sm leading-5 text-soft">
        People return to one of them after they connect; it has to be the same to the letter. https, or http on localhost.
      </p>
    </fieldset>
  );
}
