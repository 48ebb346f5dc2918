"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useForm } from "react-hook-form";
import { z } from "zod";
import * as fields from "#server/trpc/fields.ts";
import { failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { FormError, TextField } from "#ui/field.tsx";
import { FormBody } from "#ui/form-body.tsx";

const profile = z.object({
  name: z
    .string()
    .trim()
    .superRefine((text, context) => {
      const parsed = fields.name.safeParse(text);
      if (text !== "" && !parsed.success) context.addIssue({ code: "custom", message: parsed.error.issues[0]?.message ?? "" });
    }),
});

/** The user's name, which apps with the scope `profile` may see. */
export function ProfileForm({ name }: { name: string | null }) {
  const router = useRouter();
  const form = useForm({ resolver: zodResolver(profile), defaultValues: { name: name ?? "" } });
  const { errors, isDirty } = form.formState;
  const rename = trpc.account.rename.useMutation({
    onSuccess: (_, saved) => {
      form.reset(saved);
      router.refresh();
    },
  });
  const failure = failureOf(rename.error);
  return (
    <form onSubmit={form.handleSubmit((typed) => rename.mutate(typed))} noValidate aria-label="Your profile">
      <FormBody className="space-y-4">
        {failure.message !== null && <FormError>{failure.message}</FormError>}
        <TextField
          label="Your name"
          optional
          maxLength={80}
          autoComplete="name"
          error={errors.name?.message ?? failure.fields.name}
          hint="Apps that you connect and allow to see it are told this name."
          {...form.register("name")}
        />
        <div className="flex items-center gap-4">
          <Button type="submit" unavailable={rename.isPending || !isDirty}>
            {rename.isPending ? "Saving" : "Save name"}
          </Button>
          <p role="status" className="text-sm text-soft">
            {rename.isSuccess && !isDirty && "Saved."}
          </p>
        </div>
      </FormBody>
    </form>
  );
}
