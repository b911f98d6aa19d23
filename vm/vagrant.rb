# frozen_string_literal: true

# SPDX-License-Identifier: GPL-2.0
# A Vagrant provider, "qemu", that hands everything to pyharness: the same
# guest, image, saved state and port. A machine's id is its guest's name.

require "etc"
require "json"
require "open3"

module Pyharness
  ROOT = File.expand_path("..", __dir__)
  COMMAND = File.join(ROOT, ".venv", "bin", "pyharness")
  # As pyharness itself chooses it.
  NAMED = ENV["PYHARNESS_GUEST"].to_s
  OF_HOST = Etc.uname[:machine] == "aarch64" ? "bookworm-arm64" : "bookworm-i386"
  DEFAULT_GUEST = NAMED.empty? ? OF_HOST : NAMED

  class Error < Vagrant::Errors::VagrantError
    def initialize(said)
      @said = said
      super()
    end

    def error_message
      @said
    end
  end

  # Runs a command of pyharness; what it says goes to the user, line by line.
  def self.call(ui, *words)
    set_up(ui)
    run(ui, COMMAND, *words)
  end

  # What a command of pyharness prints.
  def self.ask(*words)
    out, status = Open3.capture2(COMMAND, *words)
    raise Error, "pyharness #{words.join(" ")} failed" unless status.success?

    out
  end

  # Each guest that is up or rests, by its name; nothing where pyharness was never set up.
  def self.guests
    return {} unless File.exist?(COMMAND)

    JSON.parse(ask("status", "--json")).to_h { |facts| [facts["guest"], facts] }
  end

  def self.set_up(ui)
    return if File.exist?(File.join(ROOT, ".venv", ".ready"))

    run(ui, "make", "--silent", "-C", ROOT, "setup")
  end

  def self.run(ui, *line)
    said = []
    Open3.popen2e(*line) do |stdin, out, thread|
      stdin.close
      out.each_line do |text|
        said << text.chomp
        ui.detail(text.chomp)
      end
      raise Error, said.last(3).join("\n") unless thread.value.success?
    end
  end

  class Config < Vagrant.plugin("2", :config)
    attr_accessor :guest, :memory, :cpus

    def initialize
      super
      @guest = @memory = @cpus = UNSET_VALUE
    end

    def finalize!
      @guest = DEFAULT_GUEST if @guest == UNSET_VALUE
      @memory = nil if @memory == UNSET_VALUE
      @cpus = nil if @cpus == UNSET_VALUE
    end

    def validate(_machine)
      wrong = []
      wrong << "memory is a number of MiB, not #{@memory.inspect}" unless [Integer, NilClass].include?(@memory.class)
      wrong << "cpus is a number, not #{@cpus.inspect}" unless [Integer, NilClass].include?(@cpus.class)
      { "the provider qemu" => wrong }
    end
  end

  class Provider < Vagrant.plugin("2", :provider)
    # What Vagrant calls the states that pyharness tells.
    STATES = {
      "running" => [:running, "running", "The guest runs: vagrant ssh enters it."],
      "suspended" => [:saved, "saved", "The guest is suspended: vagrant up goes on with it."],
      "off" => [:poweroff, "poweroff", "The guest is switched off: vagrant up starts it."],
      "crashed" => [:aborted, "crashed", "The guest has crashed: vagrant destroy, then vagrant up."],
    }.freeze
    NONE = [:not_created, "not created", "There is no guest: vagrant up makes it."].freeze

    def initialize(machine)
      @machine = machine
    end

    def action(name)
      Actions.respond_to?(name) ? Actions.public_send(name) : nil
    end

    def facts
      @machine.id && Pyharness.guests[@machine.id]
    end

    def state
      known = facts
      # Ended by pyharness, not by Vagrant: then it is not there for Vagrant either.
      @machine.id = nil if @machine.id && known.nil?
      Vagrant::MachineState.new(*(known ? STATES.fetch(known["state"]) : NONE))
    end

    def ssh_info
      known = facts
      return unless known && known["port"]

      { host: known["host"], port: known["port"], username: known["user"], private_key_path: known["key"] }
    end

    def to_s
      "qemu (#{@machine.provider_config.guest})"
    end
  end

  # A step of an action: says what it does, and has pyharness do it.
  class Step
    def initialize(app, env, message, *words)
      @app = app
      @machine = env[:machine]
      @message = message
      @words = words
    end

    def call(env)
      env[:ui].output(@message)
      Pyharness.call(env[:ui], *words(env), "--guest", guest)
      done
      @app.call(env)
    end

    def words(env)
      env[:snapshot_name] ? [*@words, env[:snapshot_name]] : @words
    end

    def guest
      @machine.id || @machine.provider_config.guest
    end

    def done; end
  end

  class Up < Step
    def words(_env)
      config = @machine.provider_config
      sizes = { "--cpus" => config.cpus, "--memory" => config.memory }
      ["up", *sizes.compact.flat_map { |option, size| [option, size.to_s] }]
    end

    def done
      @machine.id = guest
      forget_provisioning unless born == known_born
      @machine.data_dir.join("born").write(born)
    end

    # A guest that was started anew, also by somebody else, has the same id, and nothing in it.
    def forget_provisioning
      @machine.data_dir.join("action_provision").delete
    rescue Errno::ENOENT
      # It never was provisioned.
    end

    def born
      Pyharness.guests.fetch(guest)["born"].to_s
    end

    def known_born
      @machine.data_dir.join("born").read
    rescue Errno::ENOENT
      ""
    end
  end

  class Destroy < Step
    def done
      @machine.id = nil
    end
  end

  # Continues only if the guest runs; otherwise raises an error for callers that need an answer.
  class MustRun
    def initialize(app, env)
      @app = app
      @machine = env[:machine]
    end

    def call(env)
      state = @machine.state.id
      raise Vagrant::Errors::VMNotCreatedError if state == :not_created
      raise Vagrant::Errors::VMNotRunningError unless state == :running

      @app.call(env)
    end
  end

  # What Vagrant asks a provider for, by the name of its command.
  module Actions
    include Vagrant::Action::Builtin

    def self.build(&steps)
      Vagrant::Action::Builder.new.tap(&steps)
    end

    # Goes on only where the machine is there (or runs), and says so where it isn't.
    def self.where(state, message, &steps)
      build do |b|
        b.use ConfigValidate
        b.use Call, IsState, state do |env, b2|
          if env[:result] == (state == :not_created)
            b2.use Message, message
          else
            b2.instance_exec(b2, &steps)
          end
        end
      end
    end

    NOT_THERE = "There is no guest: vagrant up makes it."
    NOT_RUNNING = "The guest does not run: vagrant up starts it."

    def self.up
      build do |b|
        b.use ConfigValidate
        # First: whether the guest must be provisioned is known once it's known whether it's new.
        b.use Up, "Starting the guest..."
        b.use Provision
        b.use SyncedFolders
        b.use WaitForCommunicator, [:running]
      end
    end

    def self.resume
      up
    end

    def self.reload
      where(:not_created, NOT_THERE) do |b|
        b.use Call, IsState, :running do |env, b2|
          b2.use Step, "Switching the guest off...", "halt" if env[:result]
        end
        b.use Actions.up
      end
    end

    def self.halt
      where(:running, NOT_RUNNING) { |b| b.use Step, "Switching the guest off...", "halt" }
    end

    def self.suspend
      where(:running, NOT_RUNNING) { |b| b.use Step, "Suspending the guest...", "suspend" }
    end

    def self.destroy
      where(:not_created, NOT_THERE) do |b|
        b.use Call, DestroyConfirm do |env, b2|
          if env[:result]
            b2.use ProvisionerCleanup, :before
            b2.use Destroy, "Ending the guest...", "down"
          end
        end
      end
    end

    def self.provision
      where(:running, NOT_RUNNING) { |b| b.use Provision }
    end

    def self.ssh
      build do |b|
        b.use MustRun
        b.use SSHExec
      end
    end

    def self.ssh_run
      build do |b|
        b.use MustRun
        b.use SSHRun
      end
    end

    def self.sync_folders
      where(:running, NOT_RUNNING) { |b| b.use SyncedFolders }
    end

    def self.snapshot_save
      where(:running, NOT_RUNNING) { |b| b.use Step, "Taking the guest's state...", "snapshot", "save" }
    end

    def self.snapshot_restore
      where(:running, NOT_RUNNING) do |b|
        b.use Step, "Going back to the guest's earlier state...", "snapshot", "restore"
      end
    end

    def self.snapshot_delete
      where(:running, NOT_RUNNING) { |b| b.use Step, "Forgetting a state...", "snapshot", "delete" }
    end
  end

  module Capabilities
    def self.snapshot_list(machine)
      return [] unless machine.state.id == :running

      Pyharness.ask("snapshot", "list", "--guest", machine.id).split("\n")
    end
  end

  class Plugin < Vagrant.plugin("2")
    name "pyharness"
    description "Guests of pyharness"

    provider(:qemu, box_optional: true, defaultable: true, parallel: false, priority: 10) { Provider }
    config(:qemu, :provider) { Config }
    provider_capability(:qemu, :snapshot_list) { Capabilities }
  end
end
