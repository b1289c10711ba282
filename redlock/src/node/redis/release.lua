-- Deletes every key that holds the claim's value, and tells whoever listens on its channel.
-- Keys: n lock keys. Register: what to tell; empty: nothing. Argument: value.
-- Answers how many listened at most, plus 1, where every key held the value; else 0.
local listeners, all = 0, true
for i = k, k + n - 1 do
  -- A key of another type is somebody else's, and no reason to keep the others.
  if call('GET', KEYS[i]) == ARGV[a] then
    local answer = call('DEL', KEYS[i])
    if answer ~= 1 then
      reply = { answer.err }
    elseif by ~= '' then
      -- A user without permission for the channel may still release.
      local heard = call('PUBLISH', 'redlock:released:' .. KEYS[i], by)
      if heard ~= 0 and type(heard) == 'number' and heard > listeners then
        listeners = heard
      end
    end
  else
    all = false
  end
end
reply = reply or all and listeners + 1 or 0
k, a = k + n, a + 1
