-- Deletes every key that holds the claim's value, and tells whoever listens on its channel.
-- Keys: n lock keys. Arguments: value.
-- Answers how many listened at most, plus 1, where every key held the value; else 0.
function ops.release(k, n, a)
  local listeners, all = 0, true
  for i = k, k + n - 1 do
    -- pcall: a key of another type is somebody else's, and no reason to keep the others.
    if redis.pcall('GET', KEYS[i]) == ARGV[a] then
      redis.call('DEL', KEYS[i])
      -- pcall: a user without permission for the channel may still release.
      local heard = redis.pcall('PUBLISH', 'redlock:released:' .. KEYS[i], '1')
      if type(heard) == 'number' and heard > listeners then
        listeners = heard
      end
    else
      all = false
    end
  end
  return all and listeners + 1 or 0
end
