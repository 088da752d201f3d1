"""Two networks against or beside each other, and reinforcement learning: GANs, auto-encoders, values, policies."""

from __future__ import annotations

import copy

from . import Loop, batches, gradients_too, loop, mlp, targets


def seen_of(*models):
    return lambda: [t for m in models for t in gradients_too(m)()]


@loop
def gan_two_steps(torch, compiled):
    generator, critic = mlp(torch, 4, 16, 8, act="ReLU"), mlp(torch, 8, 16, 1, act="LeakyReLU")
    g_opt = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    data = targets(torch)
    bce = torch.nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(32, 1), torch.zeros(32, 1)

    @compiled
    def critic_step(real, z):
        d_opt.zero_grad()
        fake = generator(z).detach()
        loss = bce(critic(real), ones) + bce(critic(fake), zeros)
        loss.backward()
        d_opt.step()
        return loss

    @compiled
    def generator_step(z):
        g_opt.zero_grad()
        loss = bce(critic(generator(z)), ones)
        loss.backward()
        g_opt.step()
        return loss

    def iterate(i):
        z = torch.randn(32, 4)
        return critic_step(data[i % 4][0], z), generator_step(z)

    return Loop(iterate, seen_of(generator, critic), (critic_step, generator_step))


@loop
def gan_in_one_step(torch, compiled):
    generator, critic = mlp(torch, 4, 16, 8, act="ReLU"), mlp(torch, 8, 16, 1, act="LeakyReLU")
    g_opt = torch.optim.SGD(generator.parameters(), lr=1e-2)
    d_opt = torch.optim.SGD(critic.parameters(), lr=1e-2)
    data = targets(torch)
    bce = torch.nn.functional.binary_cross_entropy_with_logits

    @compiled
    def step(real):
        z = torch.randn(32, 4)
        fake = generator(z)
        d_opt.zero_grad()
        a, b = critic(real), critic(fake.detach())
        d_loss = bce(a, torch.ones_like(a)) + bce(b, torch.zeros_like(b))
        d_loss.backward()
        d_opt.step()
        g_opt.zero_grad()
        c = critic(fake)
        g_loss = bce(c, torch.ones_like(c))
        g_loss.backward()
        g_opt.step()
        return d_loss, g_loss

    return Loop(lambda i: step(data[i % 4][0]), seen_of(generator, critic), (step,))


@loop
def gradient_penalty(torch, compiled):
    critic, data = mlp(torch, 8, 16, 1, act="LeakyReLU"), targets(torch)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)

    @compiled
    def step(real):
        optimizer.zero_grad()
        fake = torch.randn_like(real)
        mix = torch.rand(32, 1)
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(data[i % 4][0]), seen_of(critic), (step,))


@loop
def auto_encoder(torch, compiled):
    encoder, decoder, data = mlp(torch, 8, 16, 3), mlp(torch, 3, 16, 8), targets(torch)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)

    @compiled
    def step(x):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(decoder(encoder(x)), x)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(data[i % 4][0]), seen_of(encoder, decoder), (step,))


@loop
def variational_auto_encoder(torch, compiled):
    encoder, decoder, data = mlp(torch, 8, 16, 6), mlp(torch, 3, 16, 8), targets(torch)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)

    @compiled
    def step(x, beta):
        optimizer.zero_grad()
        mean, log_var = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        loss = torch.nn.functional.mse_loss(decoder(z), x) + beta * kl
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(data[i % 4][0], min(1.0, i / 300)), seen_of(encoder, decoder), (step,))


@loop
def deep_q_learning(torch, compiled):
    online = mlp(torch, 4, 32, 2, act="ReLU")
    target = copy.deepcopy(online)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
    torch.manual_seed(2)
    memory = [torch.randn(256, 4), torch.randint(0, 2, (256, 1)), torch.randn(256), torch.randn(256, 4)]
    done = (torch.rand(256) < 0.1).float()

    @compiled
    def step(s, a, r, s2, d):
        with torch.no_grad():
            goal = r + 0.99 * (1 - d) * target(s2).max(1)[0]
        q = online(s).gather(1, a).squeeze(1)
        loss = torch.nn.functional.smooth_l1_loss(q, goal)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(online.parameters(), 10.0)
        optimizer.step()
        return loss

    def iterate(i):
        rows = torch.randint(0, 256, (32,))
        loss = step(*[m[rows] for m in memory], done[rows])
        if i % 50 == 49:
            target.load_state_dict(online.state_dict())
        return loss

    return Loop(iterate, seen_of(online, target), (step,))


@loop
def soft_target_network(torch, compiled):
    online = mlp(torch, 8, 32, 1, act="ReLU")
    target = copy.deepcopy(online)
    optimizer, data = torch.optim.Adam(online.parameters(), lr=1e-3), targets(torch)

    @compiled
    def step(x, r):
        with torch.no_grad():
            goal = r + 0.9 * target(x)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(online(x), goal)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(target.parameters(), online.parameters()):
                a.lerp_(b, 0.005)
        return loss

    return Loop(lambda i: step(*data[i % 4]), seen_of(online, target), (step,))


@loop
def reinforce(torch, compiled):
    policy = mlp(torch, 4, 16, 2)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)

    @compiled
    def update(states, actions, returns):
        log_p = torch.nn.functional.log_softmax(policy(states), dim=1)
        picked = log_p.gather(1, actions.unsqueeze(1)).squeeze(1)
        loss = -(picked * returns).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        states = torch.randn(20, 4)
        with torch.no_grad():
            p = torch.softmax(policy(states), dim=1)
        actions = (p[:, 1] > torch.rand(20)).long()
        rewards = torch.where(actions == (states[:, 0] > 0).long(), torch.ones(20), torch.zeros(20))
        returns = rewards - rewards.mean()
        return update(states, actions, returns)

    return Loop(iterate, seen_of(policy), (update,))


@loop
def proximal_policy(torch, compiled):
    policy, value = mlp(torch, 4, 16, 3), mlp(torch, 4, 16, 1)
    optimizer = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=3e-3)
    torch.manual_seed(3)
    s, a = torch.randn(64, 4), torch.randint(0, 3, (64, 1))
    old, advantage, returns = torch.randn(64) - 1.0, torch.randn(64), torch.randn(64)

    @compiled
    def update(s, a, old, advantage, returns):
        log_p = torch.log_softmax(policy(s), dim=1)
        ratio = (log_p.gather(1, a).squeeze(1) - old).exp()
        bounded = ratio.clamp(0.8, 1.2)
        gain = torch.min(ratio * advantage, bounded * advantage).mean()
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        v_loss = ((value(s).squeeze(1) - returns) ** 2).mean()
        loss = -gain + 0.5 * v_loss - 0.01 * entropy
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*policy.parameters(), *value.parameters()], 0.5)
        optimizer.step()
        return loss

    def iterate(i):
        rows = torch.randperm(64)[:32]
        return update(s[rows], a[rows], old[rows], advantage[rows], returns[rows])

    return Loop(iterate, seen_of(policy, value), (update,))


@loop
def actor_and_critic(torch, compiled):
    actor, critic = mlp(torch, 4, 16, 1), mlp(torch, 4, 16, 1)
    a_opt, c_opt = (torch.optim.Adam(m.parameters(), lr=1e-3) for m in (actor, critic))
    torch.manual_seed(4)
    data = [(torch.randn(16, 4), torch.randn(16, 1), torch.randn(16, 4)) for _ in range(4)]

    @compiled
    def step(s, r, s2):
        v = critic(s)
        with torch.no_grad():
            goal = r + 0.9 * critic(s2)
        c_loss = torch.nn.functional.mse_loss(v, goal)
        c_opt.zero_grad()
        c_loss.backward()
        c_opt.step()
        mean = actor(s)
        action = mean + 0.1 * torch.randn_like(mean)
        log_p = -((action.detach() - mean) ** 2) / 0.02
        a_loss = -(log_p * (goal - v.detach())).mean()
        a_opt.zero_grad()
        a_loss.backward()
        a_opt.step()
        return c_loss, a_loss

    return Loop(lambda i: step(*data[i % 4]), seen_of(actor, critic), (step,))


@loop
def contrastive(torch, compiled):
    model, data = mlp(torch, 8, 32, 8, act="ReLU"), batches(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    labels = torch.arange(32)

    @compiled
    def step(x):
        a = model(x + 0.1 * torch.randn_like(x))
        b = model(x + 0.1 * torch.randn_like(x))
        a = a / a.norm(dim=1, keepdim=True)
        b = b / b.norm(dim=1, keepdim=True)
        loss = torch.nn.functional.cross_entropy(a @ b.t() / 0.1, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(data[i % 4][0]), seen_of(model), (step,))
